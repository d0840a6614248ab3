//! A model's weights under their names: out of a module, and from any source into one.
//!
//! Files are not known here; whoever reads one is a [`WeightSource`].

mod check;
mod error;
mod in_blocks;
mod in_memory;
mod in_use;
mod load;
mod named;
mod replaced;

use std::path::Path;

use burn::tensor::{DType, TensorData};

pub use check::check;
pub use error::WeightError;
pub use in_blocks::InBlocks;
pub use in_memory::InMemory;
pub use in_use::{InUse, Lines, StillGrowing};
pub use load::load;
pub use named::{NamedTensor, collect, param_names};
pub use replaced::Replaced;

/// Named tensors that are read one at a time, so that a source may be larger than memory.
pub trait WeightSource {
    /// Where the tensors come from, for messages.
    fn path(&self) -> &Path;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// Size of each dimension of a tensor, if there is one.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Element type of a tensor, if there is one and burn knows its type.
    fn dtype(&self, name: &str) -> Option<DType>;

    /// Checks that a tensor has a shape, and a type that burn knows. Reads nothing.
    ///
    /// # Errors
    ///
    /// [`WeightError::Missing`], [`WeightError::Shape`], [`WeightError::Dtype`]; where the source has another name for
    /// the tensor, [`WeightError::Read`] with that.
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

    /// Reads a tensor in its own type.
    ///
    /// # Errors
    ///
    /// [`WeightError::Missing`] if there is none, [`WeightError::Dtype`] for a type that burn does not have,
    /// [`WeightError::Read`] for what the file meets.
    fn data(&self, name: &str) -> Result<TensorData, WeightError>;

    /// Reads one of the tensors that `name` stacks along its first dimension.
    ///
    /// # Errors
    ///
    /// Those of [`data`](Self::data).
    ///
    /// # Panics
    ///
    /// If there are not as many.
    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        let mut data = self.data(name)?;
        let shape = data.shape.to_vec();
        let size = data.bytes.len() / shape[0];
        let bytes = data.bytes[index * size..][..size].to_vec();
        data = TensorData::from_bytes_vec(bytes, shape[1..].to_vec(), data.dtype);
        Ok(data)
    }
}
