//! Weight matrices in memory, in any stored format, so that different formats can be in one list.

use burn::tensor::{DType, Tensor, bf16, f16};
use burn_flex::Flex;

use super::matrix::{MatMut, MatRef};
use super::product::{Buffers, Weights, add_block};
use super::rows::{View, stored};
use crate::quantized::Bits;
use crate::quantized::flex::Packed;
use crate::quantized::weights::{EightBits, FourBits};
use crate::weight::Weight;

/// A matrix or a stack of matrices, with a handle that keeps its memory alive.
pub(crate) enum Held<const D: usize> {
    Numbers(View<D>, DType),
    Blocks(Packed<D>),
}

impl<const D: usize> Held<D> {
    /// `None` if the kernels do not support its format.
    pub(crate) fn new(weight: &Weight<Flex, D>) -> Option<Self> {
        Self::viewed(weight, View::strided)
    }

    /// [`new`](Self::new) with contiguous rows.
    pub(crate) fn rows(weight: &Weight<Flex, D>) -> Option<Self> {
        Self::viewed(weight, View::rows)
    }

    fn viewed(weight: &Weight<Flex, D>, view: impl Fn(Tensor<Flex, D>) -> View<D>) -> Option<Self> {
        match weight {
            Weight::Dense(weight) => {
                let dtype = weight.dtype();
                stored(dtype).then(|| Self::Numbers(view(weight.clone()), dtype))
            }
            Weight::Blocks(weight) => Packed::new(weight).map(Self::Blocks),
        }
    }

    /// Number of matrices in the stack.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Numbers(view, _) => view.shape()[..D - 2].iter().product(),
            Self::Blocks(packed) => packed.shape()[..D - 2].iter().product(),
        }
    }

    /// Matrix `index` of the stack.
    pub(crate) fn matrix(&self, index: usize) -> Stored<'_> {
        match self {
            Self::Numbers(view, DType::BF16) => Stored::Bf16(view.matrix_at(index)),
            Self::Numbers(view, DType::F16) => Stored::F16(view.matrix_at(index)),
            Self::Numbers(view, _) => Stored::F32(view.matrix_at(index)),
            Self::Blocks(packed) => match packed.bits() {
                Bits::Eight => Stored::EightBits(packed.eight_bits(index)),
                Bits::Four => Stored::FourBits(packed.four_bits(index)),
            },
        }
    }
}

/// A matrix `[in, out]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stored<'a> {
    F32(MatRef<'a>),
    Bf16(MatRef<'a, bf16>),
    F16(MatRef<'a, f16>),
    EightBits(EightBits<'a>),
    FourBits(FourBits<'a>),
}

/// Evaluates `$body` with the matrix of the stored format.
macro_rules! by_kind {
    ($stored:expr, $weights:ident => $body:expr) => {
        match $stored {
            Stored::F32($weights) => $body,
            Stored::Bf16($weights) => $body,
            Stored::F16($weights) => $body,
            Stored::EightBits($weights) => $body,
            Stored::FourBits($weights) => $body,
        }
    };
}

impl Stored<'_> {
    pub(crate) fn shape(self) -> [usize; 2] {
        by_kind!(self, weights => Weights::shape(weights))
    }

    /// See [`add_block`].
    pub(crate) fn add_block(
        self,
        out: &mut MatMut<'_>,
        x: MatRef<'_>,
        first: usize,
        buffers: &mut Buffers,
    ) {
        by_kind!(self, weights => add_block(out, x, weights, first, buffers));
    }
}
