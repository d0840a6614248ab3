//! Blocks of 32 values with a scale `d`, `x = d q`, or with a scale and a minimum `m`, `x = d q + m`.
//!
//! 4-bit and 5-bit values are stored as nibbles, the first 16 values in the lower halves; fifth bits are stored
//! separately.

use std::array;

use super::{QK, nibble, scale};

/// Q4_0: `d`, 16 bytes of nibbles; `q` is the nibble minus 8.
pub(super) fn q4_0(&[a, b, ref q @ ..]: &[u8; 18]) -> [f32; QK] {
    let d = scale([a, b]);
    array::from_fn(|index| d * (f32::from(nibble(q, index)) - 8.0))
}

/// Q4_1: `d`, `m`, 16 bytes of nibbles.
pub(super) fn q4_1(&[a, b, c, e, ref q @ ..]: &[u8; 20]) -> [f32; QK] {
    let (d, m) = (scale([a, b]), scale([c, e]));
    array::from_fn(|index| d * f32::from(nibble(q, index)) + m)
}

/// Q5_0: `d`, 4 bytes of fifth bits, 16 bytes of nibbles; `q` is the 5-bit value minus 16.
pub(super) fn q5_0(&[a, b, h0, h1, h2, h3, ref q @ ..]: &[u8; 22]) -> [f32; QK] {
    let (d, high) = (scale([a, b]), u32::from_le_bytes([h0, h1, h2, h3]));
    array::from_fn(|index| d * (f32::from(five_bits(q, high, index)) - 16.0))
}

/// Q5_1: `d`, `m`, 4 bytes of fifth bits, 16 bytes of nibbles.
pub(super) fn q5_1(&[a, b, c, e, h0, h1, h2, h3, ref q @ ..]: &[u8; 24]) -> [f32; QK] {
    let (d, m) = (scale([a, b]), scale([c, e]));
    let high = u32::from_le_bytes([h0, h1, h2, h3]);
    array::from_fn(|index| d * f32::from(five_bits(q, high, index)) + m)
}

/// Q8_0: `d`, 32 signed bytes.
pub(super) fn q8_0(&[a, b, ref q @ ..]: &[u8; 34]) -> [f32; QK] {
    let d = scale([a, b]);
    q.map(|q| d * f32::from(q.cast_signed()))
}

fn five_bits(nibbles: &[u8; QK / 2], high: u32, index: usize) -> u8 {
    nibble(nibbles, index) | (((high >> index) & 1) as u8) << 4
}
