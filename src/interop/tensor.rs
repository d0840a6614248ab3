//! Tensors as a file holds them: a type, a shape and bytes. No backend takes part.

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

/// A tensor's values, row-major and little-endian, borrowed from its file where that is possible.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Size of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Cow<'a, [u8]>,
}

impl RawTensor<'_> {
    /// The tensor, if all its values are finite. `path` and `name` are those of the error.
    ///
    /// # Errors
    ///
    /// [`InteropError::NotFinite`].
    pub(super) fn finite(self, path: &Path, name: &str) -> Result<Self, InteropError> {
        // all bits of the exponent are set in NaN and in infinities, and in nothing else
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

/// Named tensors that are read one at a time: a checkpoint larger than memory is a source too.
pub trait TensorSource {
    /// All names, in the order of the source.
    fn names(&self) -> Vec<String>;

    /// Type and shape of a tensor, without reading it; none if the source does not hold it.
    fn info(&self, name: &str) -> Option<TensorInfo>;

    /// Reads a tensor.
    ///
    /// # Errors
    ///
    /// [`InteropError::MissingTensor`] if there is none of this name; what the source meets while reading.
    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError>;

    /// What the file calls a tensor, for messages.
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
