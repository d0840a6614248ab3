//! Backward pass in burn's operations.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::reference::linear_transposed;
use crate::product::Times;

/// See [`Ops::project_backward`](crate::Ops::project_backward).
pub fn linear_backward<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    grad: Tensor<B, 2>,
    needed: [bool; 2],
) -> [Option<Tensor<B, 2>>; 2] {
    [
        needed[0].then(|| linear_transposed(grad.clone(), weight)),
        needed[1].then(|| input.transpose().times(grad)),
    ]
}
