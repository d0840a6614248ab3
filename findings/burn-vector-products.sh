#!/usr/bin/env bash
# burn 0.21.0, Vulkan with autotune: a matrix times a column is wrong where the column is a view with two dimensions swapped.
#
# Guess: `matrix.matmul(column)` gives the same for a column and for a view of one, `[2, inner, 3, 1].swap_dims(1, 2)`, the layout
# of a token's heads in attention.
# Seen (2026-11, Mesa lavapipe): the view is read with other strides, as by the kernel for vectors that autotuning chooses: numbers
# are up to 4.08 off. A plain column is right.
# Upstream: https://github.com/tracel-ai/burn/issues/4828 and https://github.com/tracel-ai/cubek/pull/209
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
# versions of what burn depends on
cp "$here/../Cargo.lock" .
cat >Cargo.toml <<'TOML'
[package]
name = "vector-products"
version = "0.0.0"
edition = "2024"
[dependencies]
burn = { version = "=0.21.0", default-features = false, features = ["std", "vulkan", "fusion", "autotune", "ndarray"] }
[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use burn::backend::Vulkan;
use burn::tensor::{Tensor, TensorData};

const ROWS: usize = 6;
const INNER: usize = 8;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed) % 11) as f32 / 5.0 - 1.0).collect()
}

fn tensor(shape: [usize; 4], seed: usize) -> Tensor<Vulkan, 4> {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// How far [2, 3, ROWS, INNER] times a column is from the sums written out.
fn off(view: bool) -> f32 {
    let matrix = tensor([2, 3, ROWS, INNER], 3);
    let column = if view { tensor([2, INNER, 3, 1], 5).swap_dims(1, 2) } else { tensor([2, 3, INNER, 1], 5) };
    let seen: Vec<f32> = matrix.matmul(column).into_data().to_vec().unwrap();
    let (left, right) = (numbers(6 * ROWS * INNER, 3), numbers(6 * INNER, 5));
    let expected = (0..6 * ROWS).map(|at| {
        let (batch, head) = (at / ROWS / 3, at / ROWS % 3);
        let place = |k| if view { (batch * INNER + k) * 3 + head } else { (batch * 3 + head) * INNER + k };
        (0..INNER).map(|k| left[at * INNER + k] * right[place(k)]).sum::<f32>()
    });
    seen.iter().zip(expected).map(|(seen, expected)| (seen - expected).abs()).fold(0.0, f32::max)
}

fn main() {
    let plain = off(false);
    println!("plain column: {plain:.6} off");
    let view = off(true);
    println!("view of one:  {view:.6} off");
    assert!(plain < 1e-4 && view > 1.0, "not as described");
}
RUST
# in a debug build tuning needs more of the stack
export RUST_MIN_STACK=67108864
CARGO_TARGET_DIR=${FINDINGS_TARGET:-$folder/target} cargo run --quiet
echo "as described: the view is read wrongly"
