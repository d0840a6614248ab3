//! Reference implementation.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

/// See [`Ops::cross_entropy`](crate::Ops::cross_entropy).
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let [tokens, _] = logits.dims();
    log_softmax(logits.cast(DType::F32), 1)
        .gather(1, targets.reshape([tokens, 1]))
        .reshape([tokens])
        .neg()
}
