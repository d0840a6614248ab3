//! Reference implementation.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// See [`Ops::rms_norm`](crate::Ops::rms_norm). The mean is taken in f32.
pub fn rms_norm<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 1>, eps: f64) -> Tensor<B, 2> {
    let dtype = input.dtype();
    let input = input.cast(DType::F32);
    let mean_square = input.clone().square().mean_dim(1);
    let normalized = input / (mean_square + eps).sqrt();
    normalized.cast(dtype) * weight.unsqueeze()
}

/// See [`Ops::sum_of_squares`](crate::Ops::sum_of_squares).
pub fn sum_of_squares<B: Backend>(input: Tensor<B, 1>) -> Tensor<B, 1> {
    input.cast(DType::F32).square().sum()
}
