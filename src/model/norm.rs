//! Root-mean-square normalization.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

/// Scales every row to a root mean square of one, then by `weight`. Built by
/// [`Initializers`](super::init::Initializers).
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    eps: f64,
}

impl<B: Backend> RmsNorm<B> {
    pub(super) fn new(weight: Param<Tensor<B, 1>>, eps: f64) -> Self {
        Self { weight, eps }
    }
}

impl<B: Ops> RmsNorm<B> {
    /// Normalizes the last dimension.
    ///
    /// # Shapes
    ///
    /// - input, output: `[.., width]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let dims = input.dims();
        let width = dims[D - 1];
        let rows = dims.iter().product::<usize>() / width;
        B::rms_norm(input.reshape([rows, width]), self.weight.val(), self.eps).reshape(dims)
    }
}
