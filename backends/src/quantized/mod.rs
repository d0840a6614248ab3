//! Weights quantized in blocks: small integers with a common scale.
//!
//! A block is 32 neighbouring values of the last dimension. With 8 bits, a value is `q s` with `q` from -127 to 127,
//! where the scale `s` is the largest magnitude of the block over 127. With 4 bits, a value is `(n - 8) s` with `n`
//! from 0 to 15, where `s` puts the value of largest magnitude, whatever its sign, at `n = 0`, so that all sixteen
//! levels are used.
//!
//! Integers are packed into 32-bit words, which every backend has. With 8 bits, byte `j` of word `w` holds value
//! `4 w + j` of the block. With 4 bits, the low half of byte `j` of word `w` holds value `4 w + j` and the high half
//! value `4 w + j + 16`, so that one shift of a whole vector yields neighbouring values.

#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod avx512;
#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
#[cfg(feature = "flex")]
pub(crate) mod weights;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

/// Number of values per block.
pub const BLOCK: usize = 32;

/// Bits per integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// 4 bits: 18 bytes per block, including a 16-bit scale.
    Four,
    /// 8 bits: 34 bytes per block, including a 16-bit scale.
    Eight,
}

impl Bits {
    /// Number of bits.
    pub fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Number of integers per 32-bit word.
    pub fn per_word(self) -> usize {
        32 / self.count()
    }

    /// Number of 32-bit words per block.
    pub fn words_per_block(self) -> usize {
        BLOCK * self.count() / 32
    }
}

/// A quantized matrix, or a stack of matrices.
#[derive(Debug, Clone)]
pub struct Quantized<B: Backend, const D: usize> {
    /// Packed integers, i32, `[.., in, out * bits / 32]`.
    pub values: Tensor<B, D, Int>,
    /// Scales, f16 or f32, `[.., in, out / 32]`.
    pub scales: Tensor<B, D>,
    /// Bits per integer.
    pub bits: Bits,
}

impl<B: Backend, const D: usize> Quantized<B, D> {
    /// Quantizes a tensor in blocks, with f16 scales if the device supports f16, else f32.
    ///
    /// # Errors
    ///
    /// If the last dimension is not a multiple of [`BLOCK`].
    pub fn quantize(weight: Tensor<B, D>, bits: Bits) -> Result<Self, NotInBlocks> {
        let scales = if B::supports_dtype(&weight.device(), DType::F16) {
            DType::F16
        } else {
            DType::F32
        };
        reference::quantize(weight, bits, scales)
    }

    /// Dimensions of the unpacked tensor.
    pub fn dims(&self) -> [usize; D] {
        let mut dims = self.scales.dims();
        dims[D - 1] *= BLOCK;
        dims
    }
}

/// Quantized projections of all experts.
#[derive(Debug, Clone)]
pub struct Projections<B: Backend> {
    /// `[experts, hidden, width]`.
    pub gate: Quantized<B, 3>,
    /// `[experts, hidden, width]`.
    pub up: Quantized<B, 3>,
    /// `[experts, width, hidden]`.
    pub down: Quantized<B, 3>,
}

/// Error of a matrix whose rows are not whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotInBlocks {
    /// Its last dimension.
    pub width: usize,
}

impl std::fmt::Display for NotInBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "its rows are {} wide, expected a multiple of {BLOCK}, the block of quantization",
            self.width
        )
    }
}

impl std::error::Error for NotInBlocks {}
