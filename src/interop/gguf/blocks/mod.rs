//! Element types of ggml tensors, and the decoding of their bytes.
//!
//! A type stores a row in blocks of a fixed number of values and bytes. Decoded values equal those of the Python
//! package `gguf` 0.19 bit for bit (<https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/quants.py>); the
//! layouts are those of `ggml-common.h` beside it. Each family of blocks has its own file.

mod encode;
mod iq4;
mod k_quants;
mod legacy;
mod mxfp4;
#[cfg(test)]
mod tests;

use std::fmt;

use half::{bf16, f16};

pub use encode::OutType;

/// Values per block of types older than the K-quants.
pub(super) const QK: usize = 32;

/// Values per block of K-quants.
const QK_K: usize = 256;

/// Defines the supported types: ggml's number and name, values and bytes per block.
macro_rules! define {
    ($($(#[$doc:meta])* $variant:ident $id:literal $name:literal $values:ident $bytes:literal),* $(,)?) => {
        /// Element type of a tensor in a GGUF file; only the supported ones of ggml's types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum GgmlType {
            $($(#[$doc])* $variant,)*
        }

        impl GgmlType {
            /// All supported types.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// ggml's number of the type.
            pub fn id(self) -> u32 {
                match self {
                    $(Self::$variant => $id,)*
                }
            }

            /// ggml's name of the type.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Values and bytes per block.
            fn block(self) -> (usize, usize) {
                match self {
                    $(Self::$variant => ($values, $bytes),)*
                }
            }
        }
    };
}

const ONE: usize = 1;

define! {
    /// 32-bit floating point.
    F32 0 "F32" ONE 4,
    /// 16-bit floating point (IEEE 754).
    F16 1 "F16" ONE 2,
    /// bfloat16: the upper 16 bits of an f32.
    Bf16 30 "BF16" ONE 2,
    /// 4 bits per value and a scale per block.
    Q4_0 2 "Q4_0" QK 18,
    /// 4 bits per value, a scale and a minimum per block.
    Q4_1 3 "Q4_1" QK 20,
    /// 5 bits per value and a scale per block.
    Q5_0 6 "Q5_0" QK 22,
    /// 5 bits per value, a scale and a minimum per block.
    Q5_1 7 "Q5_1" QK 24,
    /// 8 bits per value and a scale per block.
    Q8_0 8 "Q8_0" QK 34,
    /// 2 bits per value; a 4-bit scale and a 4-bit minimum per 16 values.
    Q2K 10 "Q2_K" QK_K 84,
    /// 3 bits per value; a 6-bit scale per 16 values.
    Q3K 11 "Q3_K" QK_K 110,
    /// 4 bits per value; a 6-bit scale and a 6-bit minimum per 32 values.
    Q4K 12 "Q4_K" QK_K 144,
    /// 5 bits per value; a 6-bit scale and a 6-bit minimum per 32 values.
    Q5K 13 "Q5_K" QK_K 176,
    /// 6 bits per value; an 8-bit scale per 16 values.
    Q6K 14 "Q6_K" QK_K 210,
    /// 16 non-uniform levels and a scale per block.
    Iq4Nl 20 "IQ4_NL" QK 18,
    /// 16 non-uniform levels; a 6-bit scale per 32 values.
    Iq4Xs 23 "IQ4_XS" QK_K 136,
    /// 4-bit floating point and a power of two as scale per block.
    Mxfp4 39 "MXFP4" QK 17,
}

/// Types of ggml that are not supported, for messages.
const UNREAD: [(u32, &str); 18] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl GgmlType {
    /// The type with ggml's number `id`; `None` if it is not supported.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.id() == id)
    }

    /// ggml's name for an unsupported type.
    pub(super) fn unread_name(id: u32) -> String {
        let known = UNREAD.iter().find(|(other, _)| *other == id);
        known.map_or(format!("of ggml type {id}"), |(_, name)| {
            format!("{name} (ggml type {id})")
        })
    }

    /// Names of all supported types, for messages.
    pub(super) fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        format!("{} or {last}", others.join(", "))
    }

    /// Whether several values share a block.
    pub fn is_quantized(self) -> bool {
        self.block().0 > 1
    }

    /// Bytes per row of `length` values; `None` if the row is not whole blocks, or on overflow.
    pub fn row_bytes(self, length: usize) -> Option<usize> {
        let (values, bytes) = self.block();
        let is_whole = length.is_multiple_of(values);
        is_whole.then_some(length / values)?.checked_mul(bytes)
    }

    /// Bytes of a tensor with this shape, outermost dimension first; `None` as in [`row_bytes`](Self::row_bytes).
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<usize> {
        let (&row, outer) = shape.split_last()?;
        outer
            .iter()
            .try_fold(self.row_bytes(row)?, |bytes, &size| bytes.checked_mul(size))
    }

    /// Appends the decoded values of `bytes` to `out`. Bytes after the last whole block are ignored.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => each(bytes, out, |&it| [f32::from_le_bytes(it)]),
            Self::F16 => each(bytes, out, |&it| [scale(it)]),
            Self::Bf16 => each(bytes, out, |&it| [bf16::from_le_bytes(it).to_f32()]),
            Self::Q4_0 => each(bytes, out, legacy::q4_0),
            Self::Q4_1 => each(bytes, out, legacy::q4_1),
            Self::Q5_0 => each(bytes, out, legacy::q5_0),
            Self::Q5_1 => each(bytes, out, legacy::q5_1),
            Self::Q8_0 => each(bytes, out, legacy::q8_0),
            Self::Q2K => each(bytes, out, k_quants::q2),
            Self::Q3K => each(bytes, out, k_quants::q3),
            Self::Q4K => each(bytes, out, k_quants::q4),
            Self::Q5K => each(bytes, out, k_quants::q5),
            Self::Q6K => each(bytes, out, k_quants::q6),
            Self::Iq4Nl => each(bytes, out, iq4::nl),
            Self::Iq4Xs => each(bytes, out, iq4::xs),
            Self::Mxfp4 => each(bytes, out, mxfp4::decode),
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decodes all blocks.
fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut Vec<f32>,
    decode: impl Fn(&[u8; BYTES]) -> [f32; VALUES],
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    out.reserve(blocks.len() * VALUES);
    for block in blocks {
        out.extend_from_slice(&decode(block));
    }
}

/// The f16 in two bytes of a block.
fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Nibble `index` of 32, in the order of the lower halves of 16 bytes, then the upper ones.
fn nibble(bytes: &[u8; QK / 2], index: usize) -> u8 {
    (bytes[index % 16] >> (4 * (index / 16))) & 15
}
