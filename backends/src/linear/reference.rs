//! The definition.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// See [`Ops::project`](crate::Ops::project).
pub fn linear<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    input.matmul(weight)
}

/// See [`Ops::project_transposed`](crate::Ops::project_transposed).
///
/// A single row goes another way: burn-cubecl 0.21 multiplies it with a transposed matrix wrongly.
pub fn linear_transposed<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [tokens, _] = input.dims();
    let [outer, _] = weight.dims();
    match tokens {
        1 => (weight * input).sum_dim(1).reshape([1, outer]),
        _ => input.matmul(weight.transpose()),
    }
}
