//! Element types for writing: f32, f16, bf16 and the 8-bit blocks Q8_0.
//!
//! A block of Q8_0 holds 32 values of a row as an f16 scale `d = max|x| / 127` and 32 signed bytes `q = round(x /
//! d)`, halves rounded away from zero; `x ≈ d q`. The bytes equal those of ggml's reference, `quantize_row_q8_0_ref`
//! in <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.

use half::{bf16, f16};

use super::{GgmlType, QK};

/// Element type of written matrices, called `--outtype` by llama.cpp's converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE 754).
    F16,
    /// bfloat16: the upper 16 bits of an f32.
    Bf16,
    /// Blocks of 32 8-bit values with a common f16 scale.
    Q8_0,
}

impl From<OutType> for GgmlType {
    fn from(out: OutType) -> Self {
        match out {
            OutType::F32 => Self::F32,
            OutType::F16 => Self::F16,
            OutType::Bf16 => Self::Bf16,
            OutType::Q8_0 => Self::Q8_0,
        }
    }
}

impl OutType {
    /// Appends the bytes of a row to `out`. Values after the last whole block are dropped.
    pub fn encode(self, row: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(row.iter().flat_map(|x| x.to_le_bytes())),
            Self::F16 => out.extend(row.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
            Self::Bf16 => out.extend(row.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            Self::Q8_0 => row
                .as_chunks()
                .0
                .iter()
                .for_each(|block| encode_q8_0(block, out)),
        }
    }
}

fn encode_q8_0(block: &[f32; QK], out: &mut Vec<u8>) {
    let amax = block.iter().fold(0.0_f32, |amax, x| amax.max(x.abs()));
    let d = amax / 127.0;
    // The values are scaled by the reciprocal of the unrounded d, as in the reference: one bit can hang on it.
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(
        block
            .iter()
            .map(|x| ((x * inverse).round() as i8).cast_unsigned()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: OutType, row: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        kind.encode(row, &mut out);
        out
    }

    fn decoded(kind: OutType, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        GgmlType::from(kind).decode(bytes, &mut out);
        out
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let cases = [
            (0x3f80_7fff, 0x3f80), // below the half
            (0x3f80_8000, 0x3f80), // half, to even
            (0x3f81_8000, 0x3f82), // half, to even
            (0x3f80_8001, 0x3f81), // above the half
            (0x7f7f_ffff, 0x7f80), // to infinity
            (0x7f80_0001, 0x7fc0), // a NaN stays one
        ];
        for (bits, expected) in cases {
            let bytes = encoded(OutType::Bf16, &[f32::from_bits(bits)]);
            assert_eq!(bytes, u16::to_le_bytes(expected), "{bits:#x}");
        }
    }

    #[test]
    fn q8_0_rounds_halves_away_from_zero() {
        let mut block = [0.0; QK];
        block[..6].copy_from_slice(&[127.0, 0.5, -0.5, 1.5, 2.5, -126.5]);
        let bytes = encoded(OutType::Q8_0, &block);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(bytes[2..8], [127, 1, 255, 2, 3, 129]);
        assert_eq!(
            decoded(OutType::Q8_0, &bytes)[..6],
            [127.0, 1.0, -1.0, 2.0, 3.0, -127.0]
        );
    }

    #[test]
    fn q8_0_of_zeros_is_zeros() {
        assert_eq!(encoded(OutType::Q8_0, &[0.0; QK]), [0; 34]);
    }

    // Hashes by the Python package `gguf` 0.19: `quantize(x, GGMLQuantizationType.*)` of the same values.
    #[test]
    fn bytes_are_those_of_ggml() {
        use sha2::{Digest, Sha256};
        let mut state = 1_u32;
        let values: Vec<f32> = (0..32 * 4096)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        for (kind, hash) in HASHES {
            let found: String = Sha256::digest(encoded(kind, &values))
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert_eq!(found, hash, "{kind:?}");
        }
    }

    const HASHES: [(OutType, &str); 3] = [
        (
            OutType::F16,
            "c0cddb4bc0a01a9c5d0b280042b7ac14376b9000a6b598219c3de5623dddf690",
        ),
        (
            OutType::Bf16,
            "074887633e2e4862495f652fd056dc88c6fafebdd0be59fdd7109248c5083e93",
        ),
        (
            OutType::Q8_0,
            "21ddcdbced4f92618b572439475ae0a7e16f82f82ddab18fa2acb1ea9eaa933f",
        ),
    ];
}
