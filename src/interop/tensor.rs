//! Tensors as stored in a file: type, shape and bytes, without a backend.

use std::borrow::Cow;
use std::path::Path;

use safetensors::Dtype;

use super::InteropError;

/// Type and shape of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Size of each dimension, outermost first.
    pub shape: Vec<usize>,
}

/// Values of a tensor, row-major and little-endian, borrowed from the file where possible.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Size of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the elements.
    pub bytes: Cow<'a, [u8]>,
}

impl RawTensor<'_> {
    /// Returns the tensor if all values are finite. Errors name `path` and `name`.
    ///
    /// # Errors
    ///
    /// [`InteropError::NotFinite`] if any value is not finite.
    pub(super) fn finite(self, path: &Path, name: &str) -> Result<Self, InteropError> {
        // NaN and infinities, and only they, have all bits of the exponent set
        let halves = |exponent: u16| {
            let values = self.bytes.as_chunks().0.iter();
            let values = values.map(|&it| u16::from_le_bytes(it) & exponent);
            values.filter(|&it| it == exponent).count()
        };
        let count = match self.dtype {
            Dtype::F32 => {
                const EXPONENT: u32 = 0x7f80_0000;
                let values = self.bytes.as_chunks().0.iter();
                let values = values.map(|&it| u32::from_le_bytes(it) & EXPONENT);
                values.filter(|&it| it == EXPONENT).count()
            }
            Dtype::BF16 => halves(0x7f80),
            Dtype::F16 => halves(0x7c00),
            _ => 0,
        };
        match count {
            0 => Ok(self),
            count => Err(InteropError::NotFinite {
                path: path.to_path_buf(),
                name: name.into(),
                count,
            }),
        }
    }
}

/// A source of named tensors that are read one at a time, so that checkpoints may be larger than memory.
pub trait TensorSource {
    /// All names, in the order of the source.
    fn names(&self) -> Vec<String>;

    /// Type and shape of a tensor, without reading its values; `None` if the source lacks it.
    fn info(&self, name: &str) -> Option<TensorInfo>;

    /// Reads a tensor.
    ///
    /// # Errors
    ///
    /// [`InteropError::MissingTensor`], or errors of reading.
    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError>;

    /// Name of the tensor in the file, for messages.
    fn called(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl<S: TensorSource + ?Sized> TensorSource for &S {
    fn names(&self) -> Vec<String> {
        (**self).names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        (**self).info(name)
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        (**self).tensor(name)
    }

    fn called(&self, name: &str) -> String {
        (**self).called(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_numbers_are_counted_whatever_their_type() {
        let of = |dtype, bits: &[u32], size: usize| {
            let bytes = bits.iter().flat_map(|it| it.to_le_bytes()[..size].to_vec());
            let tensor = RawTensor {
                dtype,
                shape: vec![bits.len()],
                bytes: Cow::Owned(bytes.collect()),
            };
            tensor.finite(Path::new("f"), "t").map(|_| ())
        };
        let found = |result: Result<(), InteropError>| result.unwrap_err().to_string();
        let expected = |count: usize| {
            format!("f: tensor `t` has {count} values that are NaN or infinite, expected none")
        };
        let one = 1f32.to_bits();
        let (nan, infinite) = (f32::NAN.to_bits(), f32::NEG_INFINITY.to_bits());
        assert!(of(Dtype::F32, &[one, f32::MAX.to_bits(), 0], 4).is_ok());
        assert_eq!(found(of(Dtype::F32, &[one, nan, infinite], 4)), expected(2));
        assert!(of(Dtype::BF16, &[one >> 16, f32::MAX.to_bits() >> 16], 2).is_ok());
        assert_eq!(
            found(of(Dtype::BF16, &[one >> 16, nan >> 16], 2)),
            expected(1)
        );
        // the largest number of F16, its infinity, a NaN
        assert!(of(Dtype::F16, &[0x3c00, 0x7bff, 0xfbff], 2).is_ok());
        assert_eq!(
            found(of(Dtype::F16, &[0x3c00, 0xfc00, 0x7e01], 2)),
            expected(2)
        );
    }
}
