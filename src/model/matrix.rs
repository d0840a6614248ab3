//! Weight matrices, as numbers or in blocks of small integers.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::quantized::{BLOCK, Bits, Quantized};
use darkhorse_backends::weight::Weight;
use serde::{Deserialize, Serialize};

/// How the weights of projections and experts are held. Embeddings, norms and routers always are numbers, and so is
/// the up-projection of latent attention where the widths of a head are not whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// 8 bits, a scale for each 32 weights.
    Q8,
    /// 4 bits, a scale for each 32 weights.
    Q4,
}

impl Quantization {
    /// Width of the integers.
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
    /// Numbers.
    Dense(Param<Tensor<B, D>>),
    /// Blocks, which cannot be trained.
    Blocks(Blocks<B, D>),
}

/// The two parts of a matrix in blocks; see [`Quantized`].
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

    /// The tensors.
    pub fn val(&self) -> Quantized<B, D> {
        Quantized {
            values: self.values.val(),
            scales: self.scales.val(),
            bits: self.bits,
        }
    }
}

impl<B: Backend, const D: usize> Matrix<B, D> {
    /// Size of each dimension, that of the numbers. Draws no weight.
    pub fn dims(&self) -> [usize; D] {
        match self {
            Self::Dense(weight) => weight.lazy_shape().dims(),
            Self::Blocks(blocks) => {
                let mut dims: [usize; D] = blocks.scales.lazy_shape().dims();
                dims[D - 1] *= BLOCK;
                dims
            }
        }
    }

    /// Where it is. Draws no weight.
    pub fn device(&self) -> B::Device {
        match self {
            Self::Dense(weight) => weight.lazy_device(),
            Self::Blocks(blocks) => blocks.scales.lazy_device(),
        }
    }

    /// The tensors, as operations take them.
    pub fn weight(&self) -> Weight<B, D> {
        match self {
            Self::Dense(weight) => Weight::Dense(weight.val()),
            Self::Blocks(blocks) => Weight::Blocks(blocks.val()),
        }
    }

    /// The numbers.
    ///
    /// # Panics
    ///
    /// For a matrix in blocks, where the architecture needs numbers.
    pub fn val(&self) -> Tensor<B, D> {
        match self {
            Self::Dense(weight) => weight.val(),
            Self::Blocks(_) => panic!("this matrix is never in blocks"),
        }
    }
}

impl<B: Backend, const D: usize> Matrix<B, D> {
    /// The same matrix with other slices along a dimension: each a copy of one that it has.
    ///
    /// # Panics
    ///
    /// For a matrix in blocks, which is not trained.
    pub(super) fn selected(self, dim: usize, sources: &[usize]) -> Self {
        match self {
            Self::Dense(weight) => Self::Dense(selected(weight, dim, sources)),
            Self::Blocks(_) => panic!("a matrix in blocks is not trained"),
        }
    }
}

/// A parameter with other slices along a dimension: each a copy of one that it has.
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
