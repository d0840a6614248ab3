//! A selection per row, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::Threads;
use crate::flex::rows::{View, for_each_rows, tensor};
use crate::flex::simd::kernel;

/// See [`Ops::largest`](crate::Ops::largest).
pub(crate) fn largest(scores: Tensor<Flex, 2>, k: usize) -> Tensor<Flex, 2> {
    let shape @ [_, width] = scores.dims();
    assert!(k > 0 && k <= width, "`k` is {k}, expected 1 to {width}");
    let scores = View::rows(scores);
    let scores = scores.matrix();
    let mut out = vec![0.0; shape[0] * width];
    for_each_rows(Threads::All, &mut out, width, |first, out| {
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
    let shape @ [_, width] = input.dims();
    assert!(k > 0 && k <= width, "`k` is {k}, expected 1 to {width}");
    let input = View::rows(input);
    let input = input.matrix();
    let mut out = vec![0.0; shape[0] * width];
    for_each_rows(Threads::All, &mut out, width, |first, out| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            keep(out, input.row(first + row), k);
        }
    });
    tensor(out, shape)
}

/// Bits of a magnitude, which are ordered as magnitudes are.
#[inline(always)]
fn magnitude(value: f32) -> u32 {
    value.to_bits() & (u32::MAX >> 1)
}

kernel! {
    /// The `k`-th largest magnitude is found bit by bit: the highest number that `k` magnitudes reach.
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
