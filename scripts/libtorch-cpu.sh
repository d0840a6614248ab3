#!/usr/bin/env bash
# Makes a CPU libtorch for the `tch` feature from the wheels on PyPI (x86_64 Linux, no root).
#
#   scripts/libtorch-cpu.sh [DIR]             DIR: target/libtorch-cpu unless given
#   eval "$(scripts/libtorch-cpu.sh)" && cargo run --no-default-features --features tch
#
# Standard output is the two exports that the build and the programs need; progress goes to
# standard error. Downloads 0.9 GB, keeps 0.5 GB, needs 2 GB of disk while it works.
#
# PyPI has no CPU wheel of torch for Linux, but the CPU half of the CUDA wheel stands alone: its
# libtorch_cpu.so wants two small CUDA libraries (for the profiler) and nothing of a driver.
# libtorch_cuda.so stays out, hence a stub takes the place of libtorch.so, which links both halves.
set -euo pipefail

name=libtorch-cpu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/wheels.sh"

# torch-sys 0.22, which burn-tch 0.21 uses, wants exactly this release.
version=2.9.0

case ${1:-} in -*) die "usage: scripts/libtorch-cpu.sh [DIR]" ;; esac
[ $# -le 1 ] || die "usage: scripts/libtorch-cpu.sh [DIR]"
dir=$(absolute "${1:-${CARGO_TARGET_DIR:-$root/target}/libtorch-cpu}")

if [ ! -e "$dir" ]; then
    cc=${CC:-cc}
    command -v "$cc" >/dev/null || die "\`$cc\` is missing; install a C++ compiler first (Debian: apt-get install g++)"
    begin "$dir" 2000

    fetch torch "$version" manylinux_2_28_x86_64
    skip="libtorch.so libshm.so libtorch_cuda.so libtorch_cuda_linalg.so libtorch_python.so libtorch_nvshmem.so libc10_cuda.so libcaffe2_nvrtc.so" \
        unpack torch/lib/lib=lib/lib torch/include/=include/
    fetch nvidia-cuda-runtime-cu12 12.8.90 manylinux_2_17_x86_64
    unpack nvidia/cuda_runtime/lib/=lib/
    fetch nvidia-cuda-cupti-cu12 12.8.90 manylinux_2_17_x86_64
    unpack nvidia/cuda_cupti/lib/libcupti.so=lib/libcupti.so

    lib=$made/lib
    rm -rf "$lib"/*.a "$lib/libshm" "$lib/libshm_windows"
    "$cc" -shared -x c /dev/null -o "$lib/libtorch.so" -Wl,-soname,libtorch.so -Wl,--no-as-needed \
        -L"$lib" -ltorch_cpu -lc10 '-Wl,-rpath,$ORIGIN' || die "\`$cc\` could not link the stub libtorch.so"
    missing=$(LD_LIBRARY_PATH=$lib ldd "$lib/libtorch.so" "$lib/libtorch_cpu.so" |
        awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
    [ -z "$missing" ] || die "these libraries are missing: $missing"

    # torch-sys reads this file and checks the release.
    printf '%s+cpu\n' "$version" >"$made/build-version"
    finish "$dir"
elif [ "$(cat "$dir/build-version" 2>/dev/null)" != "$version+cpu" ]; then
    die "$dir exists and is not a libtorch $version; remove it or name another folder"
fi

printf 'export LIBTORCH=%q\n' "$dir"
printf 'export LD_LIBRARY_PATH=%q${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n' "$dir/lib"
