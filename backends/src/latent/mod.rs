//! The two products by which latent attention keeps its keys and values compressed: the up-projection
//! of the latent moves over to the queries and to the output (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>,
//! section 2.1.2).

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::quantized::Quantized;
use crate::quantized::reference::dequantize;

/// The up-projection of the latent, `[rank, heads * (nope + value)]`.
#[derive(Debug, Clone)]
pub enum UpProjection<B: Backend> {
    /// Numbers of any floating-point type.
    Numbers(Tensor<B, 2>),
    /// Blocks of 8 or 4 bits.
    Blocks(Quantized<B, 2>),
}

impl<B: Backend> UpProjection<B> {
    /// Rows and columns, those of the numbers.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Numbers(weight) => weight.dims(),
            Self::Blocks(weight) => weight.dims(),
        }
    }

    /// The numbers: as they are, or those that blocks stand for, in f32.
    pub fn numbers(self) -> Tensor<B, 2> {
        match self {
            Self::Numbers(weight) => weight,
            Self::Blocks(weight) => dequantize(weight),
        }
    }
}
