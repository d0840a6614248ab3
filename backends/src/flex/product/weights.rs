//! Weight formats of a product, and their conversion to f32.

use std::ops::Range;

use burn::tensor::{bf16, f16};

use crate::flex::ahead::Region;
use crate::flex::matrix::MatRef;
use crate::flex::prefetch::prefetch_bytes;

/// Maximum number of weight rows that are read at once.
pub(crate) const IN_FLIGHT: usize = 8;

/// Whether a specialized method did the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    NotThisWay,
}

/// A weight matrix `[in, out]` in any stored format. All forms of a product see the same f32 values.
pub(crate) trait Weights: Copy + Send + Sync {
    /// `[in, out]`.
    fn shape(self) -> [usize; 2];

    /// Whether rows are contiguous, so that they can be streamed.
    fn streams(self) -> bool {
        true
    }

    /// The row in memory, if it is stored as f32.
    #[inline(always)]
    fn in_place<'a>(self, _row: usize, _cols: Range<usize>) -> Option<&'a [f32]>
    where
        Self: 'a,
    {
        None
    }

    /// Memory region of some columns of all rows.
    fn region(self, cols: Range<usize>) -> Region;

    /// Prefetches columns of a row, if it exists. For rows that are not stored as f32.
    fn fetch(self, row: usize, cols: Range<usize>);

    /// One weight as f32.
    fn at(self, row: usize, col: usize) -> f32;

    /// `sums += x W[:, cols]` for a few rows `x`, summed in order, without converting the weights to f32 in memory,
    /// if this machine supports it.
    fn add<const R: usize>(
        self,
        _sums: &mut [&mut [f32]; R],
        _x: [&[f32]; R],
        _cols: Range<usize>,
    ) -> Outcome {
        Outcome::NotThisWay
    }

    /// Converts columns `cols` of a row to f32, for weights that stream.
    fn widen(self, row: usize, cols: Range<usize>, out: &mut [f32]);
}

/// A floating-point type that converts to f32 exactly.
pub(crate) trait Element: burn::tensor::Element + bytemuck::Pod + Send + Sync {
    fn widen(self) -> f32;

    /// The nearest value to an f32.
    fn narrow(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn narrow(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Element for f16 {
    /// Branch-free, so that loops over it are vectorized.
    #[inline(always)]
    fn widen(self) -> f32 {
        // 2^112, the difference of the exponent biases
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        let spread = (i32::from(self.to_bits() as i16) << 13) as u32 & 0x8FFF_E000;
        let value = f32::from_bits(spread) * SCALE;
        // infinities and NaN have the largest exponent
        let special = if value.abs() >= 65_536.0 {
            0x7F80_0000
        } else {
            0
        };
        f32::from_bits(value.to_bits() | special)
    }

    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl<E: Element> Weights for MatRef<'_, E> {
    fn shape(self) -> [usize; 2] {
        MatRef::shape(self)
    }

    fn streams(self) -> bool {
        self.has_adjacent_columns()
    }

    #[inline(always)]
    fn in_place<'a>(self, row: usize, cols: Range<usize>) -> Option<&'a [f32]>
    where
        Self: 'a,
    {
        if size_of::<E>() == size_of::<f32>() {
            Some(bytemuck::cast_slice(&self.row(row)[cols]))
        } else {
            None
        }
    }

    fn region(self, cols: Range<usize>) -> Region {
        self.columns(cols).region()
    }

    #[inline(always)]
    fn fetch(self, row: usize, cols: Range<usize>) {
        let all = MatRef::region(self);
        let start = all.start + row * all.stride + cols.start * size_of::<E>();
        prefetch_bytes(start, cols.len() * size_of::<E>());
    }

    #[inline(always)]
    fn at(self, row: usize, col: usize) -> f32 {
        MatRef::at(self, row, col).widen()
    }

    #[inline(always)]
    fn widen(self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(&self.row(row)[cols]) {
            *out = value.widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Element, bf16, f16};

    #[test]
    fn every_half_becomes_the_same_number_in_f32() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (got, expected) = (Element::widen(half), half.to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan());
            let half = bf16::from_bits(bits);
            let (got, expected) = (Element::widen(half), half.to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan());
        }
    }
}
