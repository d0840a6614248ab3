//! Matrix products that work on every backend.
#![expect(clippy::disallowed_methods, reason = "this is the place for it")]

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// A matrix product that is correct on every backend.
pub trait Times {
    /// [`Tensor::matmul`], with a workaround for GPUs.
    ///
    /// On GPUs a vector is passed as two equal rows or columns. burn 0.21 has special kernels for products with a
    /// vector, and some that its autotuning chooses read a transposed or strided operand wrongly or reject it
    /// (<https://github.com/tracel-ai/burn/issues/4828>, <https://github.com/tracel-ai/burn/issues/5122>).
    #[must_use]
    fn times(self, rhs: Self) -> Self;
}

impl<B: Backend, const D: usize> Times for Tensor<B, D> {
    fn times(self, rhs: Self) -> Self {
        if !cfg!(feature = "cubecl") {
            return self.matmul(rhs);
        }
        let (row, column) = (D - 2, D - 1);
        let (rows, columns) = (self.dims()[row], rhs.dims()[column]);
        let product = twice(self, row).matmul(twice(rhs, column));
        product.narrow(row, 0, rows).narrow(column, 0, columns)
    }
}

/// Duplicates the tensor along a dimension of size one.
fn twice<B: Backend, const D: usize>(tensor: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
    match tensor.dims()[dim] {
        1 => Tensor::cat(vec![tensor.clone(), tensor], dim),
        _ => tensor,
    }
}
