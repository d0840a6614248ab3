//! K-quants: blocks of 256 values in sub-blocks. A sub-block's scale (and minimum) is a small integer times an f16 of
//! the block.
//!
//! Values of few bits share a byte with the values 32 positions further on, so one byte belongs to several
//! sub-blocks.

use std::array;

use super::{QK_K, scale};

/// Q2_K: 4-bit scale and 4-bit minimum of 16 sub-blocks, 2 bits per value, `d`, `d_min`.
pub(super) fn q2(block: &[u8; 84]) -> [f32; QK_K] {
    let (d, d_min) = (at(block, 80), at(block, 82));
    let (scales, q) = (&block[..16], &block[16..80]);
    array::from_fn(|index| {
        let packed = scales[index / 16];
        let (scale, least) = (d * f32::from(packed & 15), d_min * f32::from(packed >> 4));
        scale * f32::from(two_bits(q, index)) - least
    })
}

/// Q3_K: third bit of each value, inverted; 2 bits per value; 6-bit scales of 16 sub-blocks; `d`.
pub(super) fn q3(block: &[u8; 110]) -> [f32; QK_K] {
    let d = at(block, 108);
    let (high, q, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scales: [f32; 16] = array::from_fn(|sub| {
        let low = (scales[sub % 8] >> (4 * (sub / 8))) & 15;
        let high = (scales[8 + sub % 4] >> (2 * (sub / 4))) & 3;
        d * (f32::from(low | high << 4) - 32.0)
    });
    array::from_fn(|index| {
        let is_high = (high[index % 32] >> (index / 32)) & 1;
        let q = f32::from(two_bits(q, index)) - if is_high == 1 { 0.0 } else { 4.0 };
        scales[index / 16] * q
    })
}

/// Q4_K: `d`, `d_min`, scales and minimums of 8 sub-blocks, nibbles.
pub(super) fn q4(block: &[u8; 144]) -> [f32; QK_K] {
    let (scales, q) = (scales_and_leasts(block), &block[16..]);
    array::from_fn(|index| {
        let (scale, least) = scales[index / 32];
        scale * f32::from(pair_nibble(q, index)) - least
    })
}

/// Q5_K: `d`, `d_min`, scales and minimums of 8 sub-blocks, fifth bits, nibbles.
pub(super) fn q5(block: &[u8; 176]) -> [f32; QK_K] {
    let (scales, high, q) = (scales_and_leasts(block), &block[16..48], &block[48..]);
    array::from_fn(|index| {
        let (scale, least) = scales[index / 32];
        let high = (high[index % 32] >> (index / 32)) & 1;
        scale * f32::from(pair_nibble(q, index) | high << 4) - least
    })
}

/// Q6_K: nibbles, two high bits per value, signed scales of 16 sub-blocks, `d`; `q` is the 6-bit value minus 32.
pub(super) fn q6(block: &[u8; 210]) -> [f32; QK_K] {
    let d = at(block, 208);
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    array::from_fn(|index| {
        let (half, within) = (index / 128, index % 128);
        let low = (low[half * 64 + within % 64] >> (4 * (within / 64))) & 15;
        let q = f32::from(low | two_bits(high, index) << 4) - 32.0;
        (d * f32::from(scales[index / 16].cast_signed())) * q
    })
}

/// The f16 at a byte offset.
fn at(block: &[u8], byte: usize) -> f32 {
    scale([block[byte], block[byte + 1]])
}

/// The two bits of value `index` of 256; 32 bytes hold four runs of 32 values.
fn two_bits(bytes: &[u8], index: usize) -> u8 {
    (bytes[index / 128 * 32 + index % 32] >> (2 * (index / 32 % 4))) & 3
}

/// The nibble of value `index` of 256; 32 bytes hold two runs of 32 values.
fn pair_nibble(bytes: &[u8], index: usize) -> u8 {
    (bytes[index / 64 * 32 + index % 32] >> (4 * (index / 32 % 2))) & 15
}

/// Scales and minimums of a block's 8 sub-blocks. The block starts with `d`, `d_min` and 12 bytes with 6 bits each;
/// the two high bits of the last four are stored with the first four.
fn scales_and_leasts(block: &[u8]) -> [(f32, f32); 8] {
    let (d, d_min) = (at(block, 0), at(block, 2));
    let bytes = &block[4..16];
    array::from_fn(|sub| {
        let (scale, least) = match sub {
            0..4 => (bytes[sub] & 63, bytes[sub + 4] & 63),
            _ => (
                bytes[sub + 4] & 15 | bytes[sub - 4] >> 6 << 4,
                bytes[sub + 4] >> 4 | bytes[sub] >> 6 << 4,
            ),
        };
        (d * f32::from(scale), d_min * f32::from(least))
    })
}
