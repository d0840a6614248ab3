#!/usr/bin/env bash
# Makes what the `cuda` feature needs beside the driver, from the wheels on PyPI (x86_64 Linux, no root):
# burn compiles its kernels while the program runs, with NVRTC and CUDA's headers.
# Not needed where a CUDA toolkit is installed.
#
#   scripts/cuda-runtime.sh [DIR]             DIR: target/cuda-runtime unless given
#   eval "$(scripts/cuda-runtime.sh)" && cargo run --no-default-features --features cuda
#
# Standard output is the exports; progress goes to standard error. Downloads and keeps 0.13 GB.
#
# CUDARC_CUDA_VERSION counts while building: without it and without nvcc, the newest CUDA is assumed,
# whose driver calls an older driver lacks.
set -euo pipefail

name=cuda-runtime
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/wheels.sh"

version=12.8

case ${1:-} in -*) die "usage: scripts/cuda-runtime.sh [DIR]" ;; esac
[ $# -le 1 ] || die "usage: scripts/cuda-runtime.sh [DIR]"
dir=$(absolute "${1:-${CARGO_TARGET_DIR:-$root/target}/cuda-runtime}")

if [ ! -e "$dir" ]; then
    begin "$dir" 500
    fetch nvidia-cuda-nvrtc-cu12 12.8.93 manylinux_2_12_x86_64
    skip="libnvrtc.alt.so.12 libnvrtc-builtins.alt.so.12.8" unpack nvidia/cuda_nvrtc/lib/=lib/
    fetch nvidia-cuda-runtime-cu12 12.8.90 manylinux_2_17_x86_64
    unpack nvidia/cuda_runtime/lib/=lib/ nvidia/cuda_runtime/include/=include/
    # cuda/pipeline, cuda/barrier and cuda/ptx.
    fetch nvidia-cuda-cccl-cu12 12.8.90 manylinux_2_17_x86_64
    unpack nvidia/cuda_cccl/include/=include/
    # crt/mma.h: no kernel on tensor cores without it.
    fetch nvidia-cuda-nvcc-cu12 12.8.93 manylinux_2_12_x86_64
    unpack nvidia/cuda_nvcc/include/crt/=include/crt/
    printf '%s\n' "$version" >"$made/version"
    finish "$dir"
elif [ "$(cat "$dir/version" 2>/dev/null)" != "$version" ]; then
    die "$dir exists and is not CUDA $version; remove it or name another folder"
fi

printf 'export CUDARC_CUDA_VERSION=12080\n'
printf 'export CUDA_PATH=%q\n' "$dir"
printf 'export LD_LIBRARY_PATH=%q${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n' "$dir/lib"
