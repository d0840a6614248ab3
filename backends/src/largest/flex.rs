//! A selection per row, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::Threads;
use crate::flex::rows::{View, for_each_rows, tensor};

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
