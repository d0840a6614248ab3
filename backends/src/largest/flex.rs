//! Selection per row without sorting, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::fresh::new_rows;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::kernel;

/// See [`Ops::largest`](crate::Ops::largest).
pub(crate) fn largest(scores: Tensor<Flex, 2>, k: usize) -> Tensor<Flex, 2> {
    let shape @ [rows, width] = scores.dims();
    assert!(k > 0 && k <= width, "`k` is {k}, expected 1 to {width}");
    let scores = View::rows(scores);
    let scores = scores.matrix();
    let [out] = new_rows(rows, [width], |first, [out]| {
        let mut sorted = Vec::with_capacity(width);
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let scores = scores.row(first + row);
            sorted.clear();
            sorted.extend_from_slice(scores);
            let (_, threshold, _) = sorted.select_nth_unstable_by(width - k, f32::total_cmp);
            for (out, score) in out.iter_mut().zip(scores) {
                *out = f32::from(*score >= *threshold);
            }
        }
    });
    tensor(out, shape)
}

/// See [`Ops::keep_largest`](crate::Ops::keep_largest).
pub(crate) fn keep_largest(input: Tensor<Flex, 2>, k: usize) -> Tensor<Flex, 2> {
    let shape @ [rows, width] = input.dims();
    assert!(k > 0 && k <= width, "`k` is {k}, expected 1 to {width}");
    let input = View::rows(input);
    let input = input.matrix();
    let [out] = new_rows(rows, [width], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            keep(out, input.row(first + row), k);
        }
    });
    tensor(out, shape)
}

/// Bits of a magnitude, which have the order of the magnitudes.
#[inline(always)]
fn magnitude(value: f32) -> u32 {
    value.to_bits() & (u32::MAX >> 1)
}

kernel! {
    /// Finds the `k`-th largest magnitude bit by bit: the largest number that at least `k` magnitudes reach.
    fn keep<'a>(out: &'a mut [f32], row: &'a [f32], k: usize) {
        let mut threshold = 0u32;
        for bit in (0..31).rev() {
            let higher = threshold | 1 << bit;
            let reached: u32 = row.iter().map(|value| u32::from(magnitude(*value) >= higher)).sum();
            if reached as usize >= k {
                threshold = higher;
            }
        }
        for (out, value) in out.iter_mut().zip(row) {
            *out = if magnitude(*value) >= threshold { *value } else { 0.0 };
        }
    }
}
