//! MXFP4 of the Open Compute Project: blocks of 32 4-bit floating-point values (sign, two bits of exponent, one of
//! mantissa) with a power of two as common scale.
//!
//! As in ggml, the values are doubled to make them integers, and the scale is halved.
//! Format: <https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>.

use std::array;

use super::{QK, nibble};

/// The 16 values, doubled.
const NUMBERS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Decodes a block: the exponent, then 16 bytes of nibbles.
pub(super) fn decode(&[exponent, ref q @ ..]: &[u8; 17]) -> [f32; QK] {
    let d = half_power(exponent);
    array::from_fn(|index| d * f32::from(NUMBERS[usize::from(nibble(q, index))]))
}

/// `2^(exponent - 128)`, which is subnormal for exponents 0 and 1.
fn half_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}
