//! Blocks with 4-bit indices into 16 non-uniform levels: `x = d levels[q]`.

use std::array;

use super::{QK, QK_K, nibble, scale};

/// ggml's `kvalues_iq4nl`.
const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

fn level(nibble: u8) -> f32 {
    f32::from(LEVELS[usize::from(nibble)])
}

/// IQ4_NL: `d`, then 16 bytes of nibbles.
pub(super) fn nl(&[a, b, ref q @ ..]: &[u8; 18]) -> [f32; QK] {
    let d = scale([a, b]);
    array::from_fn(|index| d * level(nibble(q, index)))
}

/// IQ4_XS: `d`; a 6-bit scale, minus 32, for each of 8 sub-blocks, as two bytes with the high bits and four with the
/// low ones; then nibbles.
pub(super) fn xs(&[a, b, h0, h1, ref rest @ ..]: &[u8; 136]) -> [f32; QK_K] {
    let (d, high) = (scale([a, b]), u16::from_le_bytes([h0, h1]));
    let (low, q) = rest.split_at(4);
    let (q, _) = q.as_chunks::<{ QK / 2 }>();
    let scales: [f32; 8] = array::from_fn(|sub| {
        let low = (low[sub / 2] >> (4 * (sub % 2))) & 15;
        let high = ((high >> (2 * sub)) & 3) as u8;
        d * (f32::from(low | high << 4) - 32.0)
    });
    array::from_fn(|index| {
        let sub = index / QK;
        scales[sub] * level(nibble(&q[sub], index % QK))
    })
}
