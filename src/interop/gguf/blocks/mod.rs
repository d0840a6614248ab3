//! Element types of ggml tensors, and the numbers that their bytes stand for.
//!
//! A type stores a row in blocks: so many values in so many bytes. Numbers come out bit for bit as the Python package
//! `gguf` 0.19 gives them (<https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/quants.py>), whose layouts
//! are those of `ggml-common.h` beside it. One file here per family of blocks.

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

/// Values in a block of the types that are older than the K-quants.
pub(super) const QK: usize = 32;

/// Values in a block of K-quants.
const QK_K: usize = 256;

/// Defines the types that are read: ggml's number, its name, values and bytes of a block.
macro_rules! define {
    ($($(#[$doc:meta])* $variant:ident $id:literal $name:literal $values:ident $bytes:literal),* $(,)?) => {
        /// Element type of a tensor in a GGUF file. Of ggml's types, those that are read here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum GgmlType {
            $($(#[$doc])* $variant,)*
        }

        impl GgmlType {
            /// All of them.
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

            /// Values and bytes of a block.
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
    /// 16-bit floating point of IEEE 754.
    F16 1 "F16" ONE 2,
    /// The upper 16 bits of an f32.
    Bf16 30 "BF16" ONE 2,
    /// 4 bits and a scale.
    Q4_0 2 "Q4_0" QK 18,
    /// 4 bits, a scale and a least value.
    Q4_1 3 "Q4_1" QK 20,
    /// 5 bits and a scale.
    Q5_0 6 "Q5_0" QK 22,
    /// 5 bits, a scale and a least value.
    Q5_1 7 "Q5_1" QK 24,
    /// 8 bits and a scale.
    Q8_0 8 "Q8_0" QK 34,
    /// 2 bits; scales and least values of 4 bits for each 16.
    Q2K 10 "Q2_K" QK_K 84,
    /// 3 bits; scales of 6 bits for each 16.
    Q3K 11 "Q3_K" QK_K 110,
    /// 4 bits; scales and least values of 6 bits for each 32.
    Q4K 12 "Q4_K" QK_K 144,
    /// 5 bits; scales and least values of 6 bits for each 32.
    Q5K 13 "Q5_K" QK_K 176,
    /// 6 bits; scales of 8 bits for each 16.
    Q6K 14 "Q6_K" QK_K 210,
    /// 16 uneven levels and a scale.
    Iq4Nl 20 "IQ4_NL" QK 18,
    /// 16 uneven levels; scales of 6 bits for each 32.
    Iq4Xs 23 "IQ4_XS" QK_K 136,
    /// 4-bit floating point, and a power of two as scale.
    Mxfp4 39 "MXFP4" QK 17,
}

/// Types of ggml that are not read, for messages.
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
    /// The type of ggml's number; none if it is not read here.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.id() == id)
    }

    /// What ggml calls the type of a number that is not read here.
    pub(super) fn unread_name(id: u32) -> String {
        let known = UNREAD.iter().find(|(other, _)| *other == id);
        known.map_or(format!("of ggml type {id}"), |(_, name)| {
            format!("{name} (ggml type {id})")
        })
    }

    /// The names of all types, for messages.
    pub(super) fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        format!("{} or {last}", others.join(", "))
    }

    /// Whether values share a scale.
    pub fn is_quantized(self) -> bool {
        self.block().0 > 1
    }

    /// Bytes of a row of `length` values; none if whole blocks do not fill it, or on overflow.
    pub fn row_bytes(self, length: usize) -> Option<usize> {
        let (values, bytes) = self.block();
        let is_whole = length.is_multiple_of(values);
        is_whole.then_some(length / values)?.checked_mul(bytes)
    }

    /// Bytes of a tensor of this shape, outermost dimension first; none as for [`row_bytes`](Self::row_bytes).
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<usize> {
        let (&row, outer) = shape.split_last()?;
        outer
            .iter()
            .try_fold(self.row_bytes(row)?, |bytes, &size| bytes.checked_mul(size))
    }

    /// Appends the values that `bytes` stand for to `out`. Bytes after the last whole block are left out.
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

/// Decodes block after block.
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

/// A number that stands in two bytes of a block.
fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Nibble `index` of 32: the lower halves of 16 bytes, then the upper ones.
fn nibble(bytes: &[u8; QK / 2], index: usize) -> u8 {
    (bytes[index % 16] >> (4 * (index / 16))) & 15
}
