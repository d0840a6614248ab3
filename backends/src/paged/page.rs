//! Rows of positions as a page holds them.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::quantized::reference::dequantize;
use crate::quantized::{BLOCK, Bits, Quantized};

/// What the numbers of a [`Page`] are held as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// Numbers of a floating-point type.
    Numbers(DType),
    /// 8 bits a number, and a scale of 16 bits for each 32 of a row; the last of them may be fewer.
    EightBits,
}

/// Rows of some positions, `[page_len, heads, dim]`.
#[derive(Debug, Clone)]
pub enum Page<B: Backend> {
    /// Numbers of any floating-point type.
    Numbers(Tensor<B, 3>),
    /// Blocks of 8 bits.
    Blocks(BlockRows<B>),
}

/// Rows in blocks of 32, with zeros behind a row that does not fill its last one.
#[derive(Debug, Clone)]
pub struct BlockRows<B: Backend> {
    pub(crate) blocks: Quantized<B, 3>,
    pub(crate) dim: usize,
}

impl<B: Backend> Page<B> {
    /// A page of zeros, `[page_len, heads, dim]`.
    pub fn zeros([len, heads, dim]: [usize; 3], format: PageFormat, device: &B::Device) -> Self {
        match format {
            PageFormat::Numbers(dtype) => {
                Self::Numbers(Tensor::zeros([len, heads, dim], (device, dtype)))
            }
            PageFormat::EightBits => {
                let blocks = dim.div_ceil(BLOCK);
                let words = [len, heads, blocks * Bits::Eight.words_per_block()];
                let scales = match B::supports_dtype(device, DType::F16) {
                    true => DType::F16,
                    false => DType::F32,
                };
                Self::Blocks(BlockRows {
                    blocks: Quantized {
                        values: Tensor::<B, 3, Int>::zeros(words, (device, DType::I32)),
                        scales: Tensor::zeros([len, heads, blocks], (device, scales)),
                        bits: Bits::Eight,
                    },
                    dim,
                })
            }
        }
    }

    /// Size of each dimension, that of the numbers.
    pub fn dims(&self) -> [usize; 3] {
        match self {
            Self::Numbers(rows) => rows.dims(),
            Self::Blocks(rows) => {
                let [len, heads, _] = rows.blocks.scales.dims();
                [len, heads, rows.dim]
            }
        }
    }

    /// The numbers where they are held as such.
    #[cfg(feature = "cubecl")]
    pub(crate) fn held_numbers(&self) -> Option<&Tensor<B, 3>> {
        match self {
            Self::Numbers(rows) => Some(rows),
            Self::Blocks(_) => None,
        }
    }

    /// What the page stands for, in f32.
    pub fn numbers(&self) -> Tensor<B, 3> {
        match self {
            Self::Numbers(rows) => rows.clone().cast(DType::F32),
            Self::Blocks(rows) => dequantize(rows.blocks.clone()).narrow(2, 0, rows.dim),
        }
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Numbers(rows) => rows.shape().num_elements() * rows.dtype().size(),
            Self::Blocks(BlockRows { blocks, .. }) => {
                let Quantized { values, scales, .. } = blocks;
                values.shape().num_elements() * values.dtype().size()
                    + scales.shape().num_elements() * scales.dtype().size()
            }
        }
    }
}

impl<B: Backend> From<Tensor<B, 3>> for Page<B> {
    fn from(rows: Tensor<B, 3>) -> Self {
        Self::Numbers(rows)
    }
}
