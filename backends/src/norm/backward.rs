//! Backward pass in burn's operations.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// See [`Ops::rms_norm_backward`](crate::Ops::rms_norm_backward).
///
/// With `s = sqrt(mean(x^2) + eps)` and `n = x / s`: `dx = (w dy - n mean(n w dy)) / s` and `dw = sum_t n dy`.
pub fn rms_norm_backward<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    eps: f64,
    grad: Tensor<B, 2>,
) -> (Tensor<B, 2>, Tensor<B, 1>) {
    let dtype = input.dtype();
    let [_, width] = input.dims();
    let input = input.cast(DType::F32);
    let grad = grad.cast(DType::F32);

    // Divisions, because `recip` is only a rough estimate on some backends.
    let size = (input.clone().square().mean_dim(1) + eps).sqrt();
    let normalized = input / size.clone();
    let weighted = grad.clone() * weight.cast(DType::F32).unsqueeze();
    let along = (weighted.clone() * normalized.clone()).mean_dim(1);
    let input_grad = (weighted - normalized.clone() * along) / size;
    let weight_grad = (normalized * grad).sum_dim(0).reshape([width]);
    (input_grad.cast(dtype), weight_grad.cast(dtype))
}
