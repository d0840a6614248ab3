//! A weight matrix, in floating point or quantized in blocks.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::Ops;
use crate::quantized::Quantized;
use crate::quantized::reference::dequantize;

/// A weight matrix `[in, out]`, or a stack `[experts, in, out]`.
#[derive(Debug, Clone)]
pub enum Weight<B: Backend, const D: usize> {
    /// Floating point.
    Dense(Tensor<B, D>),
    /// Quantized in blocks.
    Blocks(Quantized<B, D>),
}

impl<B: Backend, const D: usize> Weight<B, D> {
    /// Dimensions of the unpacked matrix.
    pub fn dims(&self) -> [usize; D] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::Blocks(weight) => weight.dims(),
        }
    }

    /// The values: a floating-point matrix as it is, a quantized one converted to f32.
    pub fn numbers(self) -> Tensor<B, D> {
        match self {
            Self::Dense(weight) => weight,
            Self::Blocks(weight) => dequantize(weight),
        }
    }
}

impl<B: Ops> Weight<B, 2> {
    /// `x W`, by [`Ops::project`] or [`Ops::project_quantized`].
    ///
    /// # Shapes
    ///
    /// - input: `[tokens, in]`, output: `[tokens, out]`
    pub fn project(self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Dense(weight) => B::project(input, weight),
            Self::Blocks(weight) => B::project_quantized(input, weight),
        }
    }
}
