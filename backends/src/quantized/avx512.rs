//! Packed blocks to f32 with AVX-512: the loops of `flex.rs` instruction by instruction, for compilers do
//! not find these for blocks of 32.
#![allow(
    unsafe_code,
    reason = "loads and stores of whole vectors, in bounds by the lengths of blocks"
)]

use std::arch::x86_64::{
    __m512, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256,
    _mm512_broadcastss_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_ps,
    _mm512_set1_ps, _mm512_setr_ps, _mm512_srli_epi32, _mm512_storeu_ps,
};

use burn::tensor::f16;

use super::BLOCK;
use crate::flex::product::IN_FLIGHT;

/// True when the machine has what this module needs.
#[inline(always)]
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("f16c")
}

/// Blocks of 32 bytes, each weight its byte times the scale of the block.
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

/// Blocks of 16 bytes with two levels each, every weight its level less eight times the scale of the block.
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
            // a permutation looks at the lowest four bits of an index
            let low = _mm512_permutexvar_ps(pairs, levels);
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(pairs), levels);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_mul_ps(low, scale));
            _mm512_storeu_ps(out.as_mut_ptr().add(16), _mm512_mul_ps(high, scale));
        }
    }
}

/// `sums += sum_k x[k] w[k]` over rows of blocks of 32 bytes.
#[target_feature(enable = "avx512f,f16c")]
pub(super) fn add_eight_bits(
    sums: &mut [f32],
    x: &[f32; IN_FLIGHT],
    rows: [&[i8]; IN_FLIGHT],
    scales: [&[f16]; IN_FLIGHT],
) {
    let factors = x.map(|x| _mm512_set1_ps(x));
    let (sums, _) = sums.as_chunks_mut::<BLOCK>();
    let rows = rows.map(|row| &row.as_chunks::<BLOCK>().0[..sums.len()]);
    for (group, sums) in sums.chunks_mut(GROUP).enumerate() {
        let scales = widened(scales, group * GROUP, sums.len());
        for (at, sums) in sums.iter_mut().enumerate() {
            let block = group * GROUP + at;
            // SAFETY: a block is 32 bytes of every row, and 32 sums.
            unsafe {
                let mut low = _mm512_loadu_ps(sums.as_ptr());
                let mut high = _mm512_loadu_ps(sums.as_ptr().add(16));
                for k in 0..IN_FLIGHT {
                    let scale = _mm512_set1_ps(scales[k][at]);
                    let bytes = rows[k][block].as_ptr();
                    let first = _mm_loadu_si128(bytes.cast());
                    let second = _mm_loadu_si128(bytes.add(16).cast());
                    let first = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(first));
                    let second = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(second));
                    low = _mm512_fmadd_ps(factors[k], _mm512_mul_ps(first, scale), low);
                    high = _mm512_fmadd_ps(factors[k], _mm512_mul_ps(second, scale), high);
                }
                _mm512_storeu_ps(sums.as_mut_ptr(), low);
                _mm512_storeu_ps(sums.as_mut_ptr().add(16), high);
            }
        }
    }
}

/// `sums += sum_k x[k] w[k]` over rows of blocks of 16 bytes with two levels each.
#[target_feature(enable = "avx512f,f16c")]
pub(super) fn add_four_bits(
    sums: &mut [f32],
    x: &[f32; IN_FLIGHT],
    rows: [&[u8]; IN_FLIGHT],
    scales: [&[f16]; IN_FLIGHT],
) {
    let factors = x.map(|x| _mm512_set1_ps(x));
    let levels = levels();
    let (sums, _) = sums.as_chunks_mut::<BLOCK>();
    let rows = rows.map(|row| &row.as_chunks::<{ BLOCK / 2 }>().0[..sums.len()]);
    for (group, sums) in sums.chunks_mut(GROUP).enumerate() {
        let scales = widened(scales, group * GROUP, sums.len());
        for (at, sums) in sums.iter_mut().enumerate() {
            let block = group * GROUP + at;
            // SAFETY: a block is 16 bytes of every row, and 32 sums.
            unsafe {
                let mut low = _mm512_loadu_ps(sums.as_ptr());
                let mut high = _mm512_loadu_ps(sums.as_ptr().add(16));
                for k in 0..IN_FLIGHT {
                    let scale = _mm512_set1_ps(scales[k][at]);
                    let bytes = _mm_loadu_si128(rows[k][block].as_ptr().cast());
                    let pairs = _mm512_cvtepu8_epi32(bytes);
                    let first = _mm512_permutexvar_ps(pairs, levels);
                    let second = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(pairs), levels);
                    low = _mm512_fmadd_ps(factors[k], _mm512_mul_ps(first, scale), low);
                    high = _mm512_fmadd_ps(factors[k], _mm512_mul_ps(second, scale), high);
                }
                _mm512_storeu_ps(sums.as_mut_ptr(), low);
                _mm512_storeu_ps(sums.as_mut_ptr().add(16), high);
            }
        }
    }
}

/// Blocks whose scales become f32 at once.
const GROUP: usize = 16;

#[target_feature(enable = "avx512f,f16c")]
fn widened(scales: [&[f16]; IN_FLIGHT], from: usize, count: usize) -> [[f32; GROUP]; IN_FLIGHT] {
    let mut widened = [[0.0; GROUP]; IN_FLIGHT];
    for (widened, scales) in widened.iter_mut().zip(scales) {
        let mut group = [f16::ZERO; GROUP];
        group[..count].copy_from_slice(&scales[from..from + count]);
        // SAFETY: sixteen elements of two bytes are read, and sixteen of four are written.
        unsafe {
            let halves = _mm256_loadu_si256(group.as_ptr().cast());
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
