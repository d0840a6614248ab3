//! Pages of cached rows.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::quantized::reference::dequantize;
use crate::quantized::{BLOCK, Bits, Quantized};

/// Format of a [`Page`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// Floating-point numbers of this type.
    Numbers(DType),
    /// 8-bit integers with a 16-bit scale per block of 32 values of a row; the last block may be shorter.
    EightBits,
}

/// Rows of consecutive positions, `[page_len, heads, dim]`.
#[derive(Debug, Clone)]
pub enum Page<B: Backend> {
    /// Floating-point numbers of any type.
    Numbers(Tensor<B, 3>),
    /// 8-bit integers in blocks.
    Blocks(BlockRows<B>),
}

/// Rows in blocks of 32 values, padded with zeros to whole blocks.
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
                let scales = if B::supports_dtype(device, DType::F16) {
                    DType::F16
                } else {
                    DType::F32
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

    /// Dimensions of the unpacked page.
    pub fn dims(&self) -> [usize; 3] {
        match self {
            Self::Numbers(rows) => rows.dims(),
            Self::Blocks(rows) => {
                let [len, heads, _] = rows.blocks.scales.dims();
                [len, heads, rows.dim]
            }
        }
    }

    /// The numbers, if the page stores floating-point numbers.
    #[cfg(feature = "cubecl")]
    pub(crate) fn held_numbers(&self) -> Option<&Tensor<B, 3>> {
        match self {
            Self::Numbers(rows) => Some(rows),
            Self::Blocks(_) => None,
        }
    }

    /// The values of the page in f32.
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
