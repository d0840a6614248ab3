//! Weights in blocks of small integers with a common scale.
//!
//! A block is 32 neighbours of the last dimension. Of 8 bits, its numbers are `q s` with `q` from -127 to 127 and
//! `s` a 127th of the largest magnitude. Of 4 bits they are `(n - 8) s` with `n` from 0 to 15, and `s` puts the
//! number of the largest magnitude at `n = 0`, sign included: so all sixteen levels are used.
//!
//! Integers are packed into words of 32 bits, which every backend has. Of 8 bits, byte `j` of word `w` is number
//! `4 w + j` of the block; of 4 bits, the low half of byte `j` of word `w` is number `4 w + j` and the high
//! half is number `4 w + j + 16`, so that neighbours come out of one shift of a whole vector.

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

/// Numbers of a block.
pub const BLOCK: usize = 32;

/// Width of a packed integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// 4 bits: 18 bytes a block with a scale of 16 bits.
    Four,
    /// 8 bits: 34 bytes a block with a scale of 16 bits.
    Eight,
}

impl Bits {
    /// As a number.
    pub fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Integers in a word of 32 bits.
    pub fn per_word(self) -> usize {
        32 / self.count()
    }

    /// Words of 32 bits that a block takes.
    pub fn words_per_block(self) -> usize {
        BLOCK * self.count() / 32
    }
}

/// A matrix, or a stack of them, in blocks.
#[derive(Debug, Clone)]
pub struct Quantized<B: Backend, const D: usize> {
    /// Packed integers, i32, `[.., in, out * bits / 32]`.
    pub values: Tensor<B, D, Int>,
    /// Scales, f16 or f32, `[.., in, out / 32]`.
    pub scales: Tensor<B, D>,
    /// Width of an integer.
    pub bits: Bits,
}

impl<B: Backend, const D: usize> Quantized<B, D> {
    /// Rounds a tensor to blocks, with scales in f16 where the device has it.
    ///
    /// # Errors
    ///
    /// If the last dimension is not made of whole blocks.
    pub fn quantize(weight: Tensor<B, D>, bits: Bits) -> Result<Self, NotInBlocks> {
        let scales = match B::supports_dtype(&weight.device(), DType::F16) {
            true => DType::F16,
            false => DType::F32,
        };
        reference::quantize(weight, bits, scales)
    }

    /// Size of each dimension, that of the numbers.
    pub fn dims(&self) -> [usize; D] {
        let mut dims = self.scales.dims();
        dims[D - 1] *= BLOCK;
        dims
    }
}

/// The projections of all experts, in blocks.
#[derive(Debug, Clone)]
pub struct Projections<B: Backend> {
    /// `[experts, hidden, width]`.
    pub gate: Quantized<B, 3>,
    /// `[experts, hidden, width]`.
    pub up: Quantized<B, 3>,
    /// `[experts, width, hidden]`.
    pub down: Quantized<B, 3>,
}

/// A matrix that is not made of whole blocks.
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
