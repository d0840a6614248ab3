//! The definition.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// See [`Ops::project`](crate::Ops::project).
pub fn linear<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    input.matmul(weight)
}
