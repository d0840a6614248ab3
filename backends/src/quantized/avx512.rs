//! Packed blocks to f32 with AVX-512: the loops of `flex.rs` instruction by instruction, for compilers do
//! not find these for blocks of 32.
#![allow(
    unsafe_code,
    reason = "loads and stores of whole vectors, in bounds by the lengths of blocks"
)]

use std::arch::x86_64::{
    __m512, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_loadu_si128, _mm512_broadcastss_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_setr_ps, _mm512_srli_epi32, _mm512_storeu_ps,
};

use burn::tensor::f16;

use super::BLOCK;

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
