#!/usr/bin/env bash
# burn 0.21.0, Vulkan: a view that swaps a dimension of one and then gets one more dimension has wrong strides.
#
# Guess: `unsqueeze_dim` of a view reads what the view reads, on every backend.
# Seen (2026-11, Mesa lavapipe): [2, 1, 3].swap_dims(1, 2).unsqueeze_dim(3) of 1..6 gives 1, 4, 0, 0, 0, 0 on Vulkan and
# 1, 2, 3, 4, 5, 6 on NdArray. Without the swap, or with the dimension added first, both agree.
# Upstream: https://github.com/tracel-ai/burn/pull/5071
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "view-strides"
version = "0.0.0"
edition = "2024"
[dependencies]
burn = { version = "=0.21.0", default-features = false, features = ["std", "vulkan", "fusion", "ndarray"] }
[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use burn::backend::{NdArray, Vulkan};
use burn::tensor::{Tensor, backend::Backend};

fn numbers<B: Backend>(added_first: bool) -> Vec<f32> {
    let plain = Tensor::<B, 1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &Default::default());
    let plain = plain.reshape([2, 1, 3]);
    let view: Tensor<B, 4> = if added_first {
        plain.unsqueeze_dim::<4>(3).swap_dims(1, 2)
    } else {
        plain.swap_dims(1, 2).unsqueeze_dim(3)
    };
    view.into_data().to_vec().unwrap()
}

fn main() {
    let right = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(numbers::<NdArray>(false), right, "NdArray");
    assert_eq!(numbers::<Vulkan>(true), right, "Vulkan, dimension added first");
    let seen = numbers::<Vulkan>(false);
    println!("NdArray {right:?}\nVulkan  {seen:?}");
    assert_ne!(seen, right, "burn 0.21.0 is right now");
}
RUST
CARGO_TARGET_DIR=${FINDINGS_TARGET:-$folder/target} cargo run --quiet
echo "as described: the view is read with wrong strides"
