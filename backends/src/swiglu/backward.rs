//! Backward pass in burn's operations.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;

/// See [`Ops::swiglu_backward`](crate::Ops::swiglu_backward).
///
/// With `s = sigmoid(g)`: `dg = dy u s (1 + g (1 - s))` and `du = dy g s`.
pub fn swiglu_backward<B: Backend>(
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
    grad: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let open = sigmoid(gate.clone());
    let silu = gate.clone() * open.clone();
    let slope = open.clone() + silu.clone() * open.neg().add_scalar(1.0);
    [grad.clone() * up * slope, grad * silu]
}
