#!/usr/bin/env bash
# burn 0.21.0 with kernel fusion, Vulkan: a column minus itself as a row is 0 everywhere where its length is a multiple of four.
#
# Guess: `exp(c - c.swap_dims(2, 3))` of a column c [2, 3, len, 1] gives the same with feature `fusion` and without it.
# Seen (2026-11, Mesa lavapipe): right at lengths 3, 15 and 17; at 4, 8, 16 and 32 up to 6.39 off, every entry is exp(0).
# Decays between the tokens of linear attention are of this form. A reshape in place of the swap is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "fused-column"
version = "0.0.0"
edition = "2024"
[dependencies]
burn = { version = "=0.21.0", default-features = false, features = ["std", "vulkan", "fusion", "ndarray"] }
[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use burn::backend::{NdArray, Vulkan};
use burn::tensor::{Tensor, TensorData, backend::Backend};

/// Entries of `exp(c - c as a row)`.
fn decays<B: Backend>(len: usize, swapped: bool) -> Vec<f32> {
    let shape = [2, 3, len, 1];
    let values = (0..6 * len).map(|i| ((i * 7 + 16) % 11) as f32 / 5.0 - 1.0).collect();
    let column = Tensor::<B, 4>::from_data(TensorData::new(values, shape), &Default::default());
    let row = if swapped { column.clone().swap_dims(2, 3) } else { column.clone().reshape([2, 3, 1, len]) };
    (column - row).exp().into_data().to_vec().unwrap()
}

fn furthest(len: usize, swapped: bool) -> f32 {
    let pairs = decays::<Vulkan>(len, swapped).into_iter().zip(decays::<NdArray>(len, swapped));
    pairs.map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

fn main() {
    for len in [3, 4, 8, 15, 16, 17, 32] {
        let (swapped, reshaped) = (furthest(len, true), furthest(len, false));
        println!("length {len:2}: swapped {swapped:.6} off, reshaped {reshaped:.6} off");
        assert!(reshaped < 1e-4);
        assert_eq!(swapped > 1.0, len % 4 == 0, "not as described at length {len}");
    }
}
RUST
CARGO_TARGET_DIR=${FINDINGS_TARGET:-$folder/target} cargo run --quiet
echo "as described: wrong where the length is a multiple of four"
