//! Weight matrices: in floating point, quantized in blocks, or frozen with a low-rank update.

mod adapted;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::quantized::{BLOCK, Bits, Quantized};
use darkhorse_backends::weight::Weight;
use serde::{Deserialize, Serialize};

pub use adapted::Adapted;

/// Quantization of projections and experts. Embeddings, norms and routers are never quantized, and neither is MLA's
/// `kv_b_proj` if `qk_nope_head_dim` or `v_head_dim` is not a multiple of 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// 8-bit integers with one scale per 32 weights.
    Q8,
    /// 4-bit integers with one scale per 32 weights.
    Q4,
}

impl Quantization {
    /// Bits per integer.
    pub fn bits(self) -> Bits {
        match self {
            Self::Q8 => Bits::Eight,
            Self::Q4 => Bits::Four,
        }
    }
}

/// A matrix, `[in, out]`, or a stack of them, `[experts, in, out]`.
#[derive(Module, Debug)]
pub enum Matrix<B: Backend, const D: usize> {
    /// Floating point.
    Dense(Param<Tensor<B, D>>),
    /// Quantized in blocks; not trainable.
    Blocks(Blocks<B, D>),
    /// Frozen, with a trained low-rank update.
    Adapted(Adapted<B, D>),
}

/// The tensors of a matrix quantized in blocks; see [`Quantized`].
#[derive(Module, Debug)]
pub struct Blocks<B: Backend, const D: usize> {
    /// Packed integers, `[.., in, out * bits / 32]`.
    pub values: Param<Tensor<B, D, Int>>,
    /// Scales, `[.., in, out / 32]`.
    pub scales: Param<Tensor<B, D>>,
    #[module(skip)]
    bits: Bits,
}

impl<B: Backend, const D: usize> Blocks<B, D> {
    pub(super) fn new(
        values: Param<Tensor<B, D, Int>>,
        scales: Param<Tensor<B, D>>,
        bits: Bits,
    ) -> Self {
        Self {
            values,
            scales: scales.set_require_grad(false),
            bits,
        }
    }

    /// The values of both parameters.
    pub fn val(&self) -> Quantized<B, D> {
        Quantized {
            values: self.values.val(),
            scales: self.scales.val(),
            bits: self.bits,
        }
    }
}

impl<B: Backend, const D: usize> Matrix<B, D> {
    /// Dimensions of the unpacked matrix. Draws no weight.
    pub fn dims(&self) -> [usize; D] {
        match self {
            Self::Dense(weight) => weight.lazy_shape().dims(),
            Self::Blocks(blocks) => {
                let mut dims: [usize; D] = blocks.scales.lazy_shape().dims();
                dims[D - 1] *= BLOCK;
                dims
            }
            Self::Adapted(adapted) => adapted.base.lazy_shape().dims(),
        }
    }

    /// Device of the matrix. Draws no weight.
    pub fn device(&self) -> B::Device {
        match self {
            Self::Dense(weight) => weight.lazy_device(),
            Self::Blocks(blocks) => blocks.scales.lazy_device(),
            Self::Adapted(adapted) => adapted.base.lazy_device(),
        }
    }

    /// The matrix as an argument of backend operations.
    pub fn weight(&self) -> Weight<B, D> {
        match self {
            Self::Dense(weight) => Weight::Dense(weight.val()),
            Self::Blocks(blocks) => Weight::Blocks(blocks.val()),
            Self::Adapted(adapted) => Weight::Dense(adapted.sum()),
        }
    }

    /// Values of a matrix that is never quantized.
    ///
    /// # Panics
    ///
    /// If the matrix is quantized.
    pub fn val(&self) -> Tensor<B, D> {
        match self {
            Self::Dense(weight) => weight.val(),
            Self::Blocks(_) => panic!("this matrix is never in blocks"),
            Self::Adapted(adapted) => adapted.sum(),
        }
    }
}

impl<B: Ops> Matrix<B, 2> {
    /// The matrix without its low-rank update, if it has one.
    pub(super) fn base(&self) -> Weight<B, 2> {
        match self {
            Self::Adapted(adapted) => Weight::Dense(adapted.base.val()),
            plain => plain.weight(),
        }
    }

    /// Adds the low-rank update's share to `product`, the product of `input` with the [base](Self::base).
    pub(super) fn updated(&self, product: Tensor<B, 2>, input: &Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Adapted(adapted) => product + adapted.update(input.clone()),
            _ => product,
        }
    }
}

impl<B: Backend, const D: usize> Matrix<B, D> {
    /// Replaces the slices along `dim` by copies of the slices `sources`.
    ///
    /// # Panics
    ///
    /// If the matrix is quantized or adapted, since only trained matrices change.
    pub(super) fn selected(self, dim: usize, sources: &[usize]) -> Self {
        match self {
            Self::Dense(weight) => Self::Dense(selected(weight, dim, sources)),
            Self::Blocks(_) => panic!("a matrix in blocks is not trained"),
            Self::Adapted(_) => panic!("an adapted matrix is frozen"),
        }
    }
}

/// Replaces a parameter's slices along `dim` by copies of the slices `sources`.
pub(super) fn selected<B: Backend, const D: usize>(
    param: Param<Tensor<B, D>>,
    dim: usize,
    sources: &[usize],
) -> Param<Tensor<B, D>> {
    let trained = param.is_require_grad();
    let indices: Vec<i32> = sources.iter().map(|&source| source as i32).collect();
    let indices = TensorData::new(indices, [sources.len()]);
    param.map(|tensor| {
        let indices = Tensor::<B, 1, Int>::from_data(indices, &tensor.device());
        let tensor = tensor.detach().set_require_grad(false);
        tensor.select(dim, indices).set_require_grad(trained)
    })
}
