//! Conversion of packed blocks to f32 with AVX-512: the loops of `weights.rs` in explicit instructions, which
//! compilers do not generate for blocks of 32.
#![allow(
    unsafe_code,
    reason = "loads and stores of whole vectors, in bounds by the lengths of blocks"
)]

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_prefetch,
    _mm256_maskz_loadu_epi16, _mm512_broadcastss_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_setr_ps, _mm512_srli_epi32, _mm512_storeu_ps,
};

use burn::tensor::f16;

use super::BLOCK;
use crate::flex::product::IN_FLIGHT;

/// Whether the machine has the instructions that this module uses.
#[inline(always)]
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("f16c")
}

/// Converts blocks of 32 bytes: each weight is its byte times the scale of the block.
#[target_feature(enable = "avx512f,f16c")]
pub(super) fn eight_bits(out: &mut [f32], bytes: &[i8], scales: &[f16]) {
    let (out, _) = out.as_chunks_mut::<BLOCK>();
    let (bytes, _) = bytes.as_chunks::<BLOCK>();
    for ((out, bytes), scale) in out.iter_mut().zip(bytes).zip(scales) {
        let scale = everywhere(*scale);
        for half in 0..2 {
            // SAFETY: half a block is sixteen bytes, and sixteen elements of `out`.
            unsafe {
                let bytes = _mm_loadu_si128(bytes.as_ptr().add(16 * half).cast());
                let levels = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
                let to = out.as_mut_ptr().add(16 * half);
                _mm512_storeu_ps(to, _mm512_mul_ps(levels, scale));
            }
        }
    }
}

/// Converts blocks of 16 bytes with two levels each: each weight is its level minus eight, times the scale of the
/// block.
#[target_feature(enable = "avx512f,f16c")]
pub(super) fn four_bits(out: &mut [f32], bytes: &[u8], scales: &[f16]) {
    let (out, _) = out.as_chunks_mut::<BLOCK>();
    let (bytes, _) = bytes.as_chunks::<{ BLOCK / 2 }>();
    let levels = levels();
    for ((out, bytes), scale) in out.iter_mut().zip(bytes).zip(scales) {
        let scale = everywhere(*scale);
        // SAFETY: a block is sixteen bytes, and 32 elements of `out`.
        unsafe {
            let pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
            // a permutation uses the lowest four bits of an index
            let low = _mm512_permutexvar_ps(pairs, levels);
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(pairs), levels);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_mul_ps(low, scale));
            _mm512_storeu_ps(out.as_mut_ptr().add(16), _mm512_mul_ps(high, scale));
        }
    }
}

/// Packed bytes and scales of rows with a fixed stride.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, E> {
    pub(super) packed: &'a [E],
    pub(super) packed_stride: usize,
    pub(super) scales: &'a [f16],
    pub(super) scales_stride: usize,
}

impl<E> Rows<'_, E> {
    /// Panics unless there are `rows` rows of `blocks` blocks.
    fn hold(&self, rows: usize, blocks: usize, packed_block: usize) {
        let last = rows.saturating_sub(1);
        assert!(self.packed.len() >= last * self.packed_stride + blocks * packed_block);
        assert!(self.scales.len() >= last * self.scales_stride + blocks);
    }
}

/// Defines `sums[r] += sum_k x[r][k] w[k]`, summed in the order of `k`, over rows of blocks of `$size` packed
/// elements; `$weights` converts the bytes and the scale of a block to two vectors.
macro_rules! add_blocks {
    ($(#[$doc:meta])* $name:ident, $element:ty, $size:expr, $weights:ident) => {
        $(#[$doc])*
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
        pub(super) fn $name<const R: usize>(
            sums: &mut [&mut [f32]; R],
            x: [&[f32]; R],
            rows: Rows<'_, $element>,
        ) {
            /// Adds `K` rows, starting at `row`.
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
            #[inline]
            fn add_rows<const R: usize, const K: usize>(
                sums: &mut [&mut [[f32; BLOCK]]; R],
                x: &[&[f32]; R],
                rows: Rows<'_, $element>,
                row: usize,
            ) {
                // loops, since closures would not be compiled for these instructions
                let mut factors = [[0.0; R]; K];
                for k in 0..K {
                    for r in 0..R {
                        factors[k][r] = x[r][row + k];
                    }
                }
                let blocks = sums[0].len();
                for first in (0..blocks).step_by(GROUP) {
                    let count = GROUP.min(blocks - first);
                    let scales = widened::<K, _>(rows, row, first, count);
                    for at in 0..count {
                        let block = first + at;
                        let mut totals = [[_mm512_set1_ps(0.0); 2]; R];
                        // SAFETY: the rows have this block, which is as long as its sums.
                        unsafe {
                            for r in 0..R {
                                let sums = sums[r].as_ptr().add(block).cast::<f32>();
                                totals[r] = [_mm512_loadu_ps(sums), _mm512_loadu_ps(sums.add(16))];
                            }
                            for k in 0..K {
                                let start = (row + k) * rows.packed_stride + block * $size;
                                let packed = rows.packed.as_ptr().add(start);
                                let ahead = packed.wrapping_add(K * rows.packed_stride);
                                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                                let [low, high] = $weights(packed, scales[k][at]);
                                for r in 0..R {
                                    let factor = _mm512_set1_ps(factors[k][r]);
                                    totals[r][0] = _mm512_fmadd_ps(factor, low, totals[r][0]);
                                    totals[r][1] = _mm512_fmadd_ps(factor, high, totals[r][1]);
                                }
                            }
                            for r in 0..R {
                                let sums = sums[r].as_mut_ptr().add(block).cast::<f32>();
                                _mm512_storeu_ps(sums, totals[r][0]);
                                _mm512_storeu_ps(sums.add(16), totals[r][1]);
                            }
                        }
                    }
                }
            }

            let mut sums = sums.each_mut().map(|sums| sums.as_chunks_mut::<BLOCK>().0);
            let (blocks, inner) = (sums[0].len(), x[0].len());
            assert!(sums.iter().all(|sums| sums.len() == blocks));
            rows.hold(inner, blocks, $size);
            let whole = inner / IN_FLIGHT * IN_FLIGHT;
            for row in (0..whole).step_by(IN_FLIGHT) {
                add_rows::<R, IN_FLIGHT>(&mut sums, &x, rows, row);
            }
            for row in whole..inner {
                add_rows::<R, 1>(&mut sums, &x, rows, row);
            }
        }
    };
}

add_blocks! {
    /// Weights of 8 bits.
    add_eight_bits, i8, BLOCK, weights_of_eight_bits
}
add_blocks! {
    /// Weights of 4 bits.
    add_four_bits, u8, BLOCK / 2, weights_of_four_bits
}

/// Converts a block of 32 bytes.
///
/// # Safety
///
/// `bytes` must point to a block.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn weights_of_eight_bits(bytes: *const i8, scale: f32) -> [__m512; 2] {
    let scale = _mm512_set1_ps(scale);
    // SAFETY: a block is twice sixteen bytes.
    let [first, second] = unsafe {
        [
            _mm_loadu_si128(bytes.cast()),
            _mm_loadu_si128(bytes.add(16).cast()),
        ]
    };
    [
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(first)), scale),
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(second)), scale),
    ]
}

/// Converts a block of 16 bytes with two levels each.
///
/// # Safety
///
/// `bytes` must point to a block.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn weights_of_four_bits(bytes: *const u8, scale: f32) -> [__m512; 2] {
    // value of each level in this block
    let weights = _mm512_mul_ps(levels(), _mm512_set1_ps(scale));
    // SAFETY: a block is sixteen bytes.
    let pairs = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.cast()) });
    // a permutation uses the lowest four bits of an index
    [
        _mm512_permutexvar_ps(pairs, weights),
        _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(pairs), weights),
    ]
}

/// Number of blocks whose scales are converted to f32 at once.
const GROUP: usize = 16;

/// Scales of blocks `from..from + count` of `K` rows, in f32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
#[inline]
fn widened<const K: usize, E>(
    rows: Rows<'_, E>,
    row: usize,
    from: usize,
    count: usize,
) -> [[f32; GROUP]; K] {
    let mut widened = [[0.0; GROUP]; K];
    let mask = u16::MAX >> (GROUP - count);
    for (k, widened) in widened.iter_mut().enumerate() {
        // SAFETY: the row has the blocks; elements that are masked out are not read.
        unsafe {
            let scales = rows
                .scales
                .as_ptr()
                .add((row + k) * rows.scales_stride + from);
            let ahead = scales.wrapping_add(K * rows.scales_stride);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            let halves = _mm256_maskz_loadu_epi16(mask, scales.cast());
            _mm512_storeu_ps(widened.as_mut_ptr(), _mm512_cvtph_ps(halves));
        }
    }
    widened
}

#[target_feature(enable = "avx512f,f16c")]
fn everywhere(scale: f16) -> __m512 {
    let bits = _mm_cvtsi32_si128(i32::from(scale.to_bits()));
    _mm512_broadcastss_ps(_mm_cvtph_ps(bits))
}

#[target_feature(enable = "avx512f")]
fn levels() -> __m512 {
    _mm512_setr_ps(
        -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
    )
}
