//! A source with one tensor changed.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::{WeightError, WeightSource, slice};

/// A source with one tensor replaced, added or removed.
pub struct Replaced<'a> {
    source: &'a dyn WeightSource,
    name: String,
    data: Option<TensorData>,
}

impl std::fmt::Debug for Replaced<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replaced")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Replaced<'a> {
    /// The tensors of `source`, with `name` replaced by `data`, or removed if that is `None`.
    pub fn new(
        source: &'a dyn WeightSource,
        name: impl Into<String>,
        data: Option<TensorData>,
    ) -> Self {
        Self {
            source,
            name: name.into(),
            data,
        }
    }
}

impl WeightSource for Replaced<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        names.retain(|name| *name != self.name);
        names.extend(self.data.is_some().then(|| self.name.clone()));
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if name == self.name {
            self.data.as_ref().map(|data| data.shape.to_vec())
        } else {
            self.source.shape(name)
        }
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        if name == self.name {
            self.data.as_ref().map(|data| data.dtype)
        } else {
            self.source.dtype(name)
        }
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        match &self.data {
            _ if name != self.name => self.source.data(name),
            Some(data) => Ok(data.clone()),
            None => Err(WeightError::Missing {
                path: self.path().to_path_buf(),
                names: vec![name.into()],
            }),
        }
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        if name == self.name {
            Ok(slice(&self.data(name)?, index))
        } else {
            self.source.part(name, index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::InMemory;

    fn rows(values: [[f32; 2]; 2]) -> TensorData {
        TensorData::from(values)
    }

    #[test]
    fn a_slice_is_one_of_the_new_tensor() {
        let source = InMemory::new("memory", [("a".into(), rows([[1.0, 2.0], [3.0, 4.0]]))]);
        let replaced = Replaced::new(&source, "a", Some(rows([[5.0, 6.0], [7.0, 8.0]])));
        let slice = replaced.part("a", 1).unwrap();
        assert_eq!(slice, TensorData::from([7.0f32, 8.0]));
        let removed = Replaced::new(&source, "a", None);
        assert!(removed.part("a", 0).is_err());
    }
}
