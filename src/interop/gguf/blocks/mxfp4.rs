//! MXFP4 of the Open Compute Project: 32 numbers of 4 bits (sign, two bits of exponent, one of mantissa) that share a
//! power of two.
//!
//! As in ggml, numbers are doubled, so that they are integers, and the shared scale is halved.
//! Format: <https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf>.

use std::array;

use super::{QK, nibble};

/// Twice the numbers.
const NUMBERS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The exponent, 16 bytes of numbers.
pub(super) fn decode(&[exponent, ref q @ ..]: &[u8; 17]) -> [f32; QK] {
    let d = half_power(exponent);
    array::from_fn(|index| d * f32::from(NUMBERS[usize::from(nibble(q, index))]))
}

/// `2^(exponent - 128)`, of which the first two are subnormal.
fn half_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}
