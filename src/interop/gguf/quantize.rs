//! Element types of ggml tensors: f32, f16, bf16 and the 8-bit blocks Q8_0.
//!
//! Blocks of Q8_0 are 32 values of a row: one f16 scale `d = max|x| / 127` and 32 signed bytes
//! `q = round(x / d)`, halves away from zero; `x ≈ d q`. Bytes are those of ggml's reference,
//! `quantize_row_q8_0_ref` in <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.

use std::fmt;

use half::{bf16, f16};

/// Values in a block of Q8_0.
pub(super) const QK8_0: usize = 32;

/// Bytes in a block of Q8_0.
const Q8_0_BYTES: usize = 2 + QK8_0;

/// Element type of a tensor in a GGUF file. Of ggml's types, those that this crate writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgmlType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point of IEEE 754.
    F16,
    /// The upper 16 bits of an f32.
    Bf16,
    /// Blocks of 32 values of 8 bits that share an f16 scale.
    Q8_0,
}

impl GgmlType {
    /// ggml's number of the type.
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    /// The type of ggml's number; none if it is not supported here.
    pub fn from_id(id: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8_0, Self::Bf16]
            .into_iter()
            .find(|kind| kind.id() == id)
    }

    /// Bytes of a row of `length` values; none if whole blocks do not fill it, or on overflow.
    pub fn row_bytes(self, length: usize) -> Option<usize> {
        match self {
            Self::F32 => length.checked_mul(4),
            Self::F16 | Self::Bf16 => length.checked_mul(2),
            Self::Q8_0 if length.is_multiple_of(QK8_0) => (length / QK8_0).checked_mul(Q8_0_BYTES),
            Self::Q8_0 => None,
        }
    }

    /// Bytes of a tensor of this shape, outermost dimension first; none as for [`row_bytes`](Self::row_bytes).
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<usize> {
        let (&row, outer) = shape.split_last()?;
        outer
            .iter()
            .try_fold(self.row_bytes(row)?, |bytes, &size| bytes.checked_mul(size))
    }

    /// Appends the bytes of a row to `out`. Of a row that does not fill whole blocks, the rest is left out.
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

    /// Appends the values that `bytes` stand for to `out`. Bytes after the last whole value or block are left out.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            Self::F16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f16::from_le_bytes(b).to_f32()),
            ),
            Self::Bf16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| bf16::from_le_bytes(b).to_f32()),
            ),
            Self::Q8_0 => {
                for [low, high, q @ ..] in bytes.as_chunks::<Q8_0_BYTES>().0 {
                    let d = f16::from_le_bytes([*low, *high]).to_f32();
                    out.extend(q.iter().map(|&q| d * f32::from(q.cast_signed())));
                }
            }
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
        })
    }
}

fn encode_q8_0(block: &[f32; QK8_0], out: &mut Vec<u8>) {
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

    fn encoded(kind: GgmlType, row: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        kind.encode(row, &mut out);
        out
    }

    fn decoded(kind: GgmlType, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        kind.decode(bytes, &mut out);
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
            let bytes = encoded(GgmlType::Bf16, &[f32::from_bits(bits)]);
            assert_eq!(bytes, u16::to_le_bytes(expected), "{bits:#x}");
        }
    }

    #[test]
    fn q8_0_rounds_halves_away_from_zero() {
        let mut block = [0.0; QK8_0];
        block[..6].copy_from_slice(&[127.0, 0.5, -0.5, 1.5, 2.5, -126.5]);
        let bytes = encoded(GgmlType::Q8_0, &block);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(bytes[2..8], [127, 1, 255, 2, 3, 129]);
        assert_eq!(
            decoded(GgmlType::Q8_0, &bytes)[..6],
            [127.0, 1.0, -1.0, 2.0, 3.0, -127.0]
        );
    }

    #[test]
    fn q8_0_of_zeros_is_zeros() {
        assert_eq!(encoded(GgmlType::Q8_0, &[0.0; QK8_0]), [0; Q8_0_BYTES]);
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
            assert_eq!(found, hash, "{kind}");
        }
    }

    const HASHES: [(GgmlType, &str); 3] = [
        (
            GgmlType::F16,
            "c0cddb4bc0a01a9c5d0b280042b7ac14376b9000a6b598219c3de5623dddf690",
        ),
        (
            GgmlType::Bf16,
            "074887633e2e4862495f652fd056dc88c6fafebdd0be59fdd7109248c5083e93",
        ),
        (
            GgmlType::Q8_0,
            "21ddcdbced4f92618b572439475ae0a7e16f82f82ddab18fa2acb1ea9eaa933f",
        ),
    ];
}
