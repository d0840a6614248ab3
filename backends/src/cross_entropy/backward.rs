//! Backward pass in burn's operations.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

/// See [`Ops::cross_entropy_saving`](crate::Ops::cross_entropy_saving).
pub fn cross_entropy_saving<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let [tokens, _] = logits.dims();
    let logits = logits.cast(DType::F32);
    let largest = logits.clone().max_dim(1);
    let sum = (logits.clone() - largest.clone()).exp().sum_dim(1);
    let log_sum_exp = (sum.log() + largest).reshape([tokens]);
    let chosen = logits.gather(1, targets.reshape([tokens, 1]));
    let losses = log_sum_exp.clone() - chosen.reshape([tokens]);
    (losses, log_sum_exp)
}

/// See [`Ops::cross_entropy_backward`](crate::Ops::cross_entropy_backward).
pub fn cross_entropy_backward<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    log_sum_exp: Tensor<B, 1>,
    grad: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let dtype = logits.dtype();
    let [tokens, _] = logits.dims();
    let grad = grad.reshape([tokens, 1]);
    let softmax = (logits.cast(DType::F32) - log_sum_exp.reshape([tokens, 1])).exp();
    let targets = targets.reshape([tokens, 1]);
    (softmax * grad.clone())
        .scatter(1, targets, grad.neg(), IndexingUpdateOp::Add)
        .cast(dtype)
}
