//! Reference implementation by sorting.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::ops::Ops;

/// See [`Ops::largest`].
pub fn largest<B: Backend>(scores: Tensor<B, 2>, k: usize) -> Tensor<B, 2> {
    let threshold = kth_largest(scores.clone(), k);
    let dims = scores.dims();
    scores.greater_equal(threshold.expand(dims)).float()
}

/// See [`Ops::keep_largest`].
pub fn keep_largest<B: Ops>(input: Tensor<B, 2>, k: usize) -> Tensor<B, 2> {
    let mask = B::largest(input.clone().abs(), k).cast(input.dtype());
    input * mask
}

/// The `k`-th largest entry of every row, `[rows, 1]`.
pub fn kth_largest<B: Backend>(scores: Tensor<B, 2>, k: usize) -> Tensor<B, 2> {
    scores.sort_descending(1).narrow(1, k - 1, 1)
}
