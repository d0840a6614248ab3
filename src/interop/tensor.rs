//! Tensors as a file holds them: a type, a shape and bytes. No backend takes part.

use std::borrow::Cow;

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
}
