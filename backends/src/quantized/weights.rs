//! Quantized rows as operands of a product: parts are converted to f32, exactly, in the first-level cache.
#![allow(
    unsafe_code,
    reason = "calls of functions for instructions that the machine was asked for"
)]

use std::ops::Range;

use burn::tensor::f16;

use super::BLOCK;
use crate::flex::ahead::Region;
use crate::flex::prefetch::prefetch_bytes;
use crate::flex::product::{Element, Outcome, Weights};

/// Rows of packed bytes, one byte per weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EightBits<'a> {
    pub(crate) bytes: &'a [i8],
    pub(crate) scales: &'a [f16],
    pub(crate) shape: [usize; 2],
}

/// Rows of packed bytes, one byte per two weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FourBits<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) scales: &'a [f16],
    pub(crate) shape: [usize; 2],
}

impl Weights for EightBits<'_> {
    fn shape(self) -> [usize; 2] {
        self.shape
    }

    fn region(self, cols: Range<usize>) -> Region {
        Region {
            start: self.bytes.as_ptr().addr() + cols.start,
            width: cols.len(),
            stride: self.shape[1],
            rows: self.shape[0],
        }
    }

    #[inline(always)]
    fn fetch(self, row: usize, cols: Range<usize>) {
        let start = row * self.shape[1] + cols.start;
        prefetch_bytes(self.bytes.as_ptr().addr() + start, cols.len());
        fetch_scales(self.scales, start, cols.len());
    }

    fn at(self, row: usize, col: usize) -> f32 {
        let at = row * self.shape[1] + col;
        f32::from(self.bytes[at]) * self.scales[at / BLOCK].widen()
    }

    fn add<const R: usize>(
        self,
        sums: &mut [&mut [f32]; R],
        x: [&[f32]; R],
        cols: Range<usize>,
    ) -> Outcome {
        debug_assert!(cols.start.is_multiple_of(BLOCK) && cols.end.is_multiple_of(BLOCK));
        #[cfg(target_arch = "x86_64")]
        if super::avx512::available() {
            let rows = super::avx512::Rows {
                packed: &self.bytes[cols.start..],
                packed_stride: self.shape[1],
                scales: &self.scales[cols.start / BLOCK..],
                scales_stride: self.shape[1] / BLOCK,
            };
            // SAFETY: the machine has the instructions.
            unsafe { super::avx512::add_eight_bits(sums, x, rows) };
            return Outcome::Done;
        }
        Outcome::NotThisWay
    }

    #[inline(always)]
    fn widen(self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        debug_assert!(cols.start.is_multiple_of(BLOCK) && cols.end.is_multiple_of(BLOCK));
        let start = row * self.shape[1] + cols.start;
        let bytes = &self.bytes[start..][..cols.len()];
        let scales = &self.scales[start / BLOCK..];
        #[cfg(target_arch = "x86_64")]
        if super::avx512::available() {
            // SAFETY: the machine has the instructions.
            return unsafe { super::avx512::eight_bits(out, bytes, scales) };
        }
        let blocks = bytes.chunks_exact(BLOCK);
        for ((out, bytes), scale) in out.chunks_exact_mut(BLOCK).zip(blocks).zip(scales) {
            let scale = scale.widen();
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = f32::from(*byte) * scale;
            }
        }
    }
}

impl Weights for FourBits<'_> {
    fn shape(self) -> [usize; 2] {
        self.shape
    }

    fn region(self, cols: Range<usize>) -> Region {
        Region {
            start: self.bytes.as_ptr().addr() + cols.start / 2,
            width: cols.len() / 2,
            stride: self.shape[1] / 2,
            rows: self.shape[0],
        }
    }

    #[inline(always)]
    fn fetch(self, row: usize, cols: Range<usize>) {
        let start = row * self.shape[1] + cols.start;
        prefetch_bytes(self.bytes.as_ptr().addr() + start / 2, cols.len() / 2);
        fetch_scales(self.scales, start, cols.len());
    }

    fn at(self, row: usize, col: usize) -> f32 {
        let at = row * self.shape[1] + col;
        let (block, within) = (at / BLOCK, at % BLOCK);
        let byte = self.bytes[block * BLOCK / 2 + within % (BLOCK / 2)];
        let level = byte >> (within / (BLOCK / 2) * 4) & 15;
        (f32::from(level) - 8.0) * self.scales[block].widen()
    }

    fn add<const R: usize>(
        self,
        sums: &mut [&mut [f32]; R],
        x: [&[f32]; R],
        cols: Range<usize>,
    ) -> Outcome {
        debug_assert!(cols.start.is_multiple_of(BLOCK) && cols.end.is_multiple_of(BLOCK));
        #[cfg(target_arch = "x86_64")]
        if super::avx512::available() {
            let rows = super::avx512::Rows {
                packed: &self.bytes[cols.start / 2..],
                packed_stride: self.shape[1] / 2,
                scales: &self.scales[cols.start / BLOCK..],
                scales_stride: self.shape[1] / BLOCK,
            };
            // SAFETY: the machine has the instructions.
            unsafe { super::avx512::add_four_bits(sums, x, rows) };
            return Outcome::Done;
        }
        Outcome::NotThisWay
    }

    #[inline(always)]
    fn widen(self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        debug_assert!(cols.start.is_multiple_of(BLOCK) && cols.end.is_multiple_of(BLOCK));
        let start = row * self.shape[1] + cols.start;
        let bytes = &self.bytes[start / 2..][..cols.len() / 2];
        let scales = &self.scales[start / BLOCK..];
        #[cfg(target_arch = "x86_64")]
        if super::avx512::available() {
            // SAFETY: the machine has the instructions.
            return unsafe { super::avx512::four_bits(out, bytes, scales) };
        }
        let blocks = bytes.chunks_exact(BLOCK / 2);
        for ((out, bytes), scale) in out.chunks_exact_mut(BLOCK).zip(blocks).zip(scales) {
            let scale = scale.widen();
            let (low, high) = out.split_at_mut(BLOCK / 2);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                *low = (f32::from(byte & 15) - 8.0) * scale;
                *high = (f32::from(byte >> 4) - 8.0) * scale;
            }
        }
    }
}

/// Prefetches the scales of `len` weights, starting at `start`.
#[inline(always)]
fn fetch_scales(scales: &[f16], start: usize, len: usize) {
    let bytes = |weights: usize| weights / BLOCK * size_of::<f16>();
    prefetch_bytes(scales.as_ptr().addr() + bytes(start), bytes(len));
}
