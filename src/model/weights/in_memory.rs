//! Weights held in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};

use super::{WeightError, WeightSource};

/// Named tensors in memory.
#[derive(Debug, Clone)]
pub struct InMemory {
    path: PathBuf,
    tensors: BTreeMap<String, TensorData>,
}

impl InMemory {
    /// Creates a source of named tensors; `path` is their origin, for messages.
    pub fn new(
        path: impl Into<PathBuf>,
        tensors: impl IntoIterator<Item = (String, TensorData)>,
    ) -> Self {
        Self {
            path: path.into(),
            tensors: tensors.into_iter().collect(),
        }
    }
}

impl WeightSource for InMemory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|data| data.shape.to_vec())
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).map(|data| data.dtype)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let missing = || WeightError::Missing {
            path: self.path.clone(),
            names: vec![name.into()],
        };
        self.tensors.get(name).cloned().ok_or_else(missing)
    }
}
