//! Blocks of 32 values with a scale `d`: `x = d q`, or with a least value `m`: `x = d q + m`.
//!
//! 4 and 5 bits stand as nibbles, the first 16 values in the lower halves; fifth bits stand apart.

use std::array;

use super::{QK, nibble, scale};

/// `d`, 16 bytes of nibbles; `q` is the nibble less 8.
pub(super) fn q4_0(&[a, b, ref q @ ..]: &[u8; 18]) -> [f32; QK] {
    let d = scale([a, b]);
    array::from_fn(|index| d * (f32::from(nibble(q, index)) - 8.0))
}

/// `d`, `m`, 16 bytes of nibbles.
pub(super) fn q4_1(&[a, b, c, e, ref q @ ..]: &[u8; 20]) -> [f32; QK] {
    let (d, m) = (scale([a, b]), scale([c, e]));
    array::from_fn(|index| d * f32::from(nibble(q, index)) + m)
}

/// `d`, 4 bytes of fifth bits, 16 bytes of nibbles; `q` is the number of 5 bits less 16.
pub(super) fn q5_0(&[a, b, h0, h1, h2, h3, ref q @ ..]: &[u8; 22]) -> [f32; QK] {
    let (d, high) = (scale([a, b]), u32::from_le_bytes([h0, h1, h2, h3]));
    array::from_fn(|index| d * (f32::from(five_bits(q, high, index)) - 16.0))
}

/// `d`, `m`, 4 bytes of fifth bits, 16 bytes of nibbles.
pub(super) fn q5_1(&[a, b, c, e, h0, h1, h2, h3, ref q @ ..]: &[u8; 24]) -> [f32; QK] {
    let (d, m) = (scale([a, b]), scale([c, e]));
    let high = u32::from_le_bytes([h0, h1, h2, h3]);
    array::from_fn(|index| d * f32::from(five_bits(q, high, index)) + m)
}

/// `d`, 32 signed bytes.
pub(super) fn q8_0(&[a, b, ref q @ ..]: &[u8; 34]) -> [f32; QK] {
    let d = scale([a, b]);
    q.map(|q| d * f32::from(q.cast_signed()))
}

fn five_bits(nibbles: &[u8; QK / 2], high: u32, index: usize) -> u8 {
    nibble(nibbles, index) | (((high >> index) & 1) as u8) << 4
}
