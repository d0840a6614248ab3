//! A weight matrix without bias, through the backend's [`Ops::project`].

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

/// `x W`. Built by [`Initializers`](super::init::Initializers).
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`.
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Ops> Linear<B> {
    /// Multiplies every row.
    ///
    /// # Shapes
    ///
    /// - input: `[.., in]`, output: `[.., out]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let mut dims = input.dims();
        let [inner, outer] = self.weight.dims();
        let rows = dims.iter().product::<usize>() / inner;
        let output = B::project(input.reshape([rows, inner]), self.weight.val());
        dims[D - 1] = outer;
        output.reshape(dims)
    }
}
