//! The derivative, in burn's operations.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// See [`Ops::project_backward`](crate::Ops::project_backward).
pub fn linear_backward<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    grad: Tensor<B, 2>,
    needed: [bool; 2],
) -> [Option<Tensor<B, 2>>; 2] {
    [
        needed[0].then(|| times_transposed(grad.clone(), weight)),
        needed[1].then(|| input.transpose().matmul(grad)),
    ]
}

/// `Y W^T`.
///
/// A single row goes another way: burn-cubecl 0.21 multiplies it with a transposed matrix wrongly.
///
/// # Shapes
///
/// - rows: `[tokens, out]`, matrix: `[in, out]`, output: `[tokens, in]`
pub fn times_transposed<B: Backend>(rows: Tensor<B, 2>, matrix: Tensor<B, 2>) -> Tensor<B, 2> {
    let [tokens, _] = rows.dims();
    let [inner, _] = matrix.dims();
    match tokens {
        1 => (matrix * rows).sum_dim(1).reshape([1, inner]),
        _ => rows.matmul(matrix.transpose()),
    }
}
