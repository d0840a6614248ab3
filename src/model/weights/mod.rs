//! Named weights of a model: collecting them from a module, and loading them from any source.
//!
//! This module reads no files; whatever does implements [`WeightSource`].

mod check;
mod error;
mod held;
mod in_blocks;
mod in_memory;
mod in_use;
mod load;
mod merged;
mod named;
mod replaced;
mod values;
mod within;

use std::path::Path;

use burn::tensor::{DType, TensorData};

pub use check::check;
pub use error::WeightError;
pub use held::{HeldNarrow, Narrow};
pub use in_blocks::InBlocks;
pub use in_memory::InMemory;
pub use in_use::{InUse, Lines, StillGrowing};
pub use load::load;
pub use merged::Merged;
pub(crate) use named::Path as ParamPath;
pub use named::{NamedTensor, collect, param_names};
pub use replaced::Replaced;
pub(crate) use values::{Values, transposed};
pub use within::Within;

/// A source of named tensors, read one at a time, so it may be larger than memory.
pub trait WeightSource {
    /// Origin of the tensors, for messages.
    fn path(&self) -> &Path;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// Shape of a tensor; `None` if there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Element type of a tensor; `None` if there is no such tensor or burn lacks its type.
    fn dtype(&self, name: &str) -> Option<DType>;

    /// Element type in which [`load`] holds a float tensor; `None` for the device's default.
    fn held(&self, _name: &str) -> Option<DType> {
        None
    }

    /// Checks that a tensor exists, has the given shape and a type that burn supports. Reads nothing.
    ///
    /// # Errors
    ///
    /// [`WeightError::Missing`], [`WeightError::Shape`] or [`WeightError::Dtype`]. A source that stores the tensor
    /// under another name wraps these in [`WeightError::Read`].
    fn check(&self, name: &str, expected: &[usize]) -> Result<(), WeightError> {
        let path = || self.path().to_path_buf();
        let Some(found) = self.shape(name) else {
            return Err(WeightError::Missing {
                path: path(),
                names: vec![name.into()],
            });
        };
        if found != expected {
            return Err(WeightError::Shape {
                path: path(),
                name: name.into(),
                found,
                expected: expected.to_vec(),
            });
        }
        match self.dtype(name) {
            Some(_) => Ok(()),
            None => Err(WeightError::Dtype {
                path: path(),
                name: name.into(),
                found: "another type".into(),
                expected: "a type of burn".into(),
            }),
        }
    }

    /// Reads a tensor in its stored type.
    ///
    /// # Errors
    ///
    /// [`WeightError::Missing`] if there is no such tensor, [`WeightError::Dtype`] for a type that burn lacks,
    /// [`WeightError::Read`] if reading fails.
    fn data(&self, name: &str) -> Result<TensorData, WeightError>;

    /// Reads the slice at `index` of a tensor's first dimension.
    ///
    /// # Errors
    ///
    /// See [`data`](Self::data).
    ///
    /// # Panics
    ///
    /// If `index` is out of range.
    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        Ok(slice(&self.data(name)?, index))
    }
}

/// Copies the slice at `index` of a tensor's first dimension.
pub(crate) fn slice(data: &TensorData, index: usize) -> TensorData {
    let size = data.bytes.len() / data.shape[0];
    let bytes = data.bytes[index * size..][..size].to_vec();
    TensorData::from_bytes_vec(bytes, data.shape[1..].to_vec(), data.dtype)
}
