//! Top-k with one cube per row: `k` times the best entry after the last one.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::cube::launch::{addresses, cube_each, empty, in_rows};

/// Number of units of a cube.
const UNITS: u32 = 64;

/// Whether the kernel supports this shape, as routers have it.
pub(crate) fn fits([tokens, experts]: [usize; 2], k: usize) -> bool {
    tokens > 0 && (1..=16).contains(&k) && (k..=1024).contains(&experts)
}

/// See [`Ops::top_k`](crate::Ops::top_k); the indices are of type `dtype`.
pub(crate) fn top_k<R: CubeRuntime>(
    scores: CubeTensor<R>,
    k: usize,
    dtype: DType,
) -> CubeTensor<R> {
    let scores = in_rows(scores);
    let rows = scores.meta.shape()[0];
    let chosen = empty(&scores, [rows, k], dtype);
    largest::launch::<R>(
        &chosen.client,
        cube_each(rows),
        CubeDim::new_1d(UNITS),
        addresses(&[&scores, &chosen]),
        scores.clone().into_tensor_arg(),
        chosen.clone().into_tensor_arg(),
        [scores.dtype.into(), dtype.into()],
    );
    chosen
}

/// Whether the entry at `index` precedes the one at `other`; an index at or past `end` is no entry.
#[cube]
fn before(score: f32, index: usize, other_score: f32, other: usize, end: usize) -> bool {
    index < end && (other >= end || score > other_score || (score == other_score && index < other))
}

#[cube(launch, address_type = "dynamic")]
fn largest<T: Float, I: Int>(
    scores: &Tensor<T>,
    chosen: &mut Tensor<I>,
    #[define(T, I)] _types: [StorageType; 2],
) {
    let row = CUBE_POS;
    if row >= scores.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let experts = scores.shape(1);
    let mut bests = SharedMemory::<f32>::new(comptime!(UNITS as usize));
    let mut indices = SharedMemory::<u32>::new(comptime!(UNITS as usize));
    let mut last_score = 0.0f32;
    let mut last = experts;
    for place in 0..chosen.shape(1) {
        let mut best = 0.0f32;
        let mut at = experts;
        let mut index = unit;
        while index < experts {
            let score = f32::cast_from(scores[row * scores.stride(0) + index]);
            let left = place == 0 || before(last_score, last, score, index, experts);
            if left && before(score, index, best, at, experts) {
                best = score;
                at = index;
            }
            index += UNITS as usize;
        }
        bests[unit] = best;
        indices[unit] = at as u32;
        sync_cube();
        let mut half = comptime!(UNITS as usize / 2).runtime();
        while half > 0 {
            if unit < half {
                let (other_best, other) = (bests[unit + half], indices[unit + half] as usize);
                if before(
                    other_best,
                    other,
                    bests[unit],
                    indices[unit] as usize,
                    experts,
                ) {
                    bests[unit] = other_best;
                    indices[unit] = other as u32;
                }
            }
            sync_cube();
            half /= 2;
        }
        last_score = bests[0];
        last = indices[0] as usize;
        if unit == 0 {
            // with no entry left to compare, as with NaN, still returns a valid index
            let within = select(last < experts, last, experts - 1);
            chosen[row * chosen.stride(0) + place] = I::cast_from(within);
        }
        sync_cube();
    }
}
