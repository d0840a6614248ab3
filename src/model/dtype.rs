//! Number formats of weights, caches and files.

use std::str::FromStr;

use burn::tensor::DType;
use darkhorse_backends::paged::PageFormat;
use serde::Serialize;

use super::matrix::Quantization;

/// Format of stored numbers.
///
/// Not every place supports every format; for quantized matrices see [`Quantization`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit IEEE 754 float.
    F32,
    /// 16-bit IEEE 754 float.
    F16,
    /// 16-bit bfloat, with the range of f32.
    Bf16,
    /// 8-bit integers with a 2-byte scale per 32 values (GGUF's `Q8_0`).
    Q8,
    /// 4-bit integers with a 2-byte scale per 32 values (GGUF's `Q4_0`).
    Q4,
}

/// Error of an unknown format name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown number format `{found}`, expected one of: f32, f16, bf16, q8, q4")]
pub struct UnknownDtype {
    /// The unknown name.
    pub found: String,
}

impl Dtype {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8, Self::Q4];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Format of matrices with this quantization; f32 without one.
    pub fn held_as(quantization: Option<Quantization>) -> Self {
        match quantization {
            None => Self::F32,
            Some(Quantization::Q8) => Self::Q8,
            Some(Quantization::Q4) => Self::Q4,
        }
    }

    /// Quantization of matrices in this format; `None` for floating-point formats.
    pub fn quantization(self) -> Option<Quantization> {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q8 => Some(Quantization::Q8),
            Self::Q4 => Some(Quantization::Q4),
        }
    }

    /// Tensor type of this format; `None` for block formats.
    pub fn tensor(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            Self::Q8 | Self::Q4 => None,
        }
    }

    /// Page format of a cache in this format; `None` if caches do not support it.
    pub fn page(self) -> Option<PageFormat> {
        match self {
            Self::Q8 => Some(PageFormat::EightBits),
            format => format.tensor().map(PageFormat::Numbers),
        }
    }

    /// Format of the unquantized weights of a model whose matrices have this format.
    pub(super) fn of_numbers(self) -> Self {
        match self {
            Self::Q8 | Self::Q4 => Self::F32,
            format => format,
        }
    }

    /// Bytes of `values` numbers, with a partial last block rounded up.
    pub fn bytes(self, values: u64) -> u64 {
        let block_bytes = match self {
            Self::F32 => 128,
            Self::F16 | Self::Bf16 => 64,
            Self::Q8 => 34,
            Self::Q4 => 18,
        };
        let blocks = (values / 32).saturating_mul(block_bytes);
        blocks.saturating_add((values % 32 * block_bytes).div_ceil(32))
    }

    /// Bytes of AdamW's two f32 moments of `weights`, plus their f32 master copy if this format is not f32.
    pub fn optimizer_bytes(self, weights: u64) -> u64 {
        let numbers = if self == Self::F32 { 2 } else { 3 };
        Self::F32.bytes(weights.saturating_mul(numbers))
    }
}

impl FromStr for Dtype {
    type Err = UnknownDtype;

    /// Parses a lower-case name, with or without GGUF's suffix `_0`.
    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        let plain = name.strip_suffix("_0").unwrap_or(name);
        let found = Self::ALL.into_iter().find(|format| format.name() == plain);
        found.ok_or_else(|| UnknownDtype { found: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_by_its_name_and_by_that_of_gguf() {
        for format in Dtype::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert_eq!("q8_0".parse(), Ok(Dtype::Q8));
        let error = "q5".parse::<Dtype>().unwrap_err().to_string();
        assert!(error.starts_with("unknown number format `q5`"), "{error}");
    }

    #[test]
    fn what_matrices_are_held_in_is_read_back_and_no_cache_holds_four_bits() {
        for format in [Dtype::Q8, Dtype::Q4] {
            assert_eq!(Dtype::held_as(format.quantization()), format);
        }
        let pages = Dtype::ALL.map(|format| format.page().is_some());
        assert_eq!(pages, [true, true, true, true, false]);
    }
}
