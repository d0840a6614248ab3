//! Products directly from the packed words.

use burn::tensor::{DType, Tensor, f16};
use burn_flex::Flex;

use super::weights::{EightBits, FourBits};
use super::{BLOCK, Bits, Quantized};
use crate::flex::matrix::Threads;
use crate::flex::product::product;
use crate::flex::rows::{View, tensor};

/// A quantized tensor in memory.
pub(crate) struct Packed<const D: usize> {
    values: View<D>,
    scales: View<D>,
    bits: Bits,
    shape: [usize; D],
}

impl<const D: usize> Packed<D> {
    /// `None` if the kernels do not support its types.
    pub(crate) fn new(weights: &Quantized<Flex, D>) -> Option<Self> {
        let (values, scales) = (weights.values.clone(), weights.scales.clone());
        if values.dtype() != DType::I32 || scales.dtype() != DType::F16 {
            return None;
        }
        Some(Self {
            values: View::integers(values),
            scales: View::contiguous(scales),
            bits: weights.bits,
            shape: weights.dims(),
        })
    }

    /// Dimensions of the unpacked tensor.
    pub(crate) fn shape(&self) -> [usize; D] {
        self.shape
    }

    /// Bits per integer.
    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    /// All rows of all matrices, with 8 bits.
    pub(crate) fn rows_of_eight_bits(&self) -> EightBits<'_> {
        let width = self.shape[D - 1];
        let rows = self.shape[..D - 1].iter().product();
        EightBits {
            bytes: bytemuck::cast_slice(&self.values.data_of::<i32>()[..rows * width / 4]),
            scales: &self.scales.data_of::<f16>()[..rows * width / BLOCK],
            shape: [rows, width],
        }
    }

    /// Matrix `matrix`, with 8 bits.
    pub(crate) fn eight_bits(&self, matrix: usize) -> EightBits<'_> {
        let [shape, words, scales] = self.of(matrix);
        EightBits {
            bytes: bytemuck::cast_slice(&self.values.data_of::<i32>()[words[0]..words[1]]),
            scales: &self.scales.data_of::<f16>()[scales[0]..scales[1]],
            shape,
        }
    }

    /// Matrix `matrix`, with 4 bits.
    pub(crate) fn four_bits(&self, matrix: usize) -> FourBits<'_> {
        let [shape, words, scales] = self.of(matrix);
        FourBits {
            bytes: bytemuck::cast_slice(&self.values.data_of::<i32>()[words[0]..words[1]]),
            scales: &self.scales.data_of::<f16>()[scales[0]..scales[1]],
            shape,
        }
    }

    /// Shape of a matrix, and ranges of its words and scales.
    fn of(&self, matrix: usize) -> [[usize; 2]; 3] {
        let shape = [self.shape[D - 2], self.shape[D - 1]];
        let len = shape[0] * shape[1];
        let range = |unit: usize| [matrix * len / unit, (matrix + 1) * len / unit];
        [shape, range(self.bits.per_word()), range(BLOCK)]
    }
}

/// See [`Ops::project_quantized`](crate::Ops::project_quantized).
pub(crate) fn project(input: Tensor<Flex, 2>, weights: &Packed<2>) -> Tensor<Flex, 2> {
    let shape = [input.dims()[0], weights.shape[1]];
    let input = View::strided(input);
    let values = match weights.bits {
        Bits::Eight => product(input.matrix(), weights.eight_bits(0), Threads::All),
        Bits::Four => product(input.matrix(), weights.four_bits(0), Threads::All),
    };
    tensor(values, shape)
}
