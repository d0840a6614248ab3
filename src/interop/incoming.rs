//! Tensors of another format as the weights of one of our models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

use super::entry::{Entry, Take};
use super::hugging_face::HfConfig;
use super::{InteropError, TensorInfo, TensorSource, dtype, names};
use crate::model::weights::{Values, WeightError, WeightSource};

/// Weights under our names and in our layout, read from tensors with Hugging Face's names.
#[derive(Debug)]
pub struct Incoming<S> {
    path: PathBuf,
    source: S,
    entries: BTreeMap<String, Entry>,
    /// Lengths of parameters that the source lacks and that are zero.
    zeros: BTreeMap<String, usize>,
}

impl<S: TensorSource> Incoming<S> {
    /// Presents the tensors of `source`, read from `path`, as those of the model in `config`.
    ///
    /// # Errors
    ///
    /// [`InteropError::MissingTensor`] and [`InteropError::UnexpectedTensor`] for the first such tensor;
    /// [`InteropError::TensorShape`] for a tensor from which the wrong rows would be taken.
    pub fn new(
        source: S,
        path: impl Into<PathBuf>,
        config: &HfConfig,
    ) -> Result<Self, InteropError> {
        let path = path.into();
        let mut entries = config.family.entries(config);
        let is_there = |entry: &Entry| source.info(&entry.theirs[0]).is_some();
        let zeros = entries
            .extract_if(.., |entry| entry.zeros.is_some() && !is_there(entry))
            .filter_map(|entry| Some((entry.ours, entry.zeros?)))
            .collect();
        let copies = names::mtp_copies(&config.model).into_iter();
        let mut known: BTreeSet<String> = copies.map(|(name, _)| name).collect();
        for entry in &entries {
            for name in &entry.theirs {
                let name = name.clone();
                let Some(info) = source.info(&name) else {
                    let name = source.called(&name);
                    return Err(InteropError::MissingTensor { path, name });
                };
                entry.check_rows(&info.shape, &path, &name)?;
                known.insert(name);
            }
        }
        let skipped = |name: &String| {
            // transformers writes the shared experts of a model that has none, with a width of zero
            let is_empty = source.info(name).is_some_and(|it| it.shape.contains(&0));
            known.contains(name) || is_empty || config.family.ignores(name)
        };
        if let Some(name) = source.names().into_iter().find(|name| !skipped(name)) {
            let name = source.called(&name);
            return Err(InteropError::UnexpectedTensor { path, name });
        }
        let entries = entries.into_iter().map(|it| (it.ours.clone(), it));
        Ok(Self {
            path,
            source,
            entries: entries.collect(),
            zeros,
        })
    }

    /// Reads the tensors of a parameter one after the other into the buffer that the parameter keeps; `stacked` is their
    /// number if the parameter has a dimension for it.
    fn read(
        &self,
        entry: &Entry,
        names: &[String],
        stacked: Option<usize>,
    ) -> Result<TensorData, InteropError> {
        let mut all: Option<(Values, Dtype, Vec<usize>)> = None;
        for name in names {
            let tensor = self.source.tensor(name)?;
            let tensor = tensor.finite(&self.path, &self.source.called(name))?;
            let (dtype, shape) = (tensor.dtype, entry.part_shape(&tensor.shape));
            if dtype::to_burn(dtype).is_none() {
                return Err(unsupported(self.path.clone(), name.clone(), dtype));
            }
            let (values, ..) = match &mut all {
                Some(all) if (all.1, &all.2) == (dtype, &shape) => all,
                Some(_) => {
                    return Err(InteropError::TensorDtype {
                        path: self.path.clone(),
                        name: name.clone(),
                        found: format!("{dtype} of {shape:?}"),
                        expected: "the type and shape of the expert before it".into(),
                    });
                }
                none => {
                    // once: growing would take twice as much
                    let count = shape.iter().product::<usize>() * names.len();
                    let values = Values::with_capacity(dtype.bitsize() / 8, count);
                    none.insert((values, dtype, shape))
                }
            };
            entry.to_ours(tensor, values);
        }
        let (path, name) = (self.path.clone(), entry.ours.clone());
        let (values, dtype, shape) = all.ok_or(InteropError::MissingTensor { path, name })?;
        let dtype = dtype::to_burn(dtype).unwrap_or(DType::F32);
        Ok(values.into_data(stacked.into_iter().chain(shape).collect(), dtype))
    }
}

fn unsupported(path: PathBuf, name: String, dtype: Dtype) -> InteropError {
    InteropError::TensorDtype {
        path,
        name,
        found: dtype.to_string(),
        expected: "F32, F16 or BF16".into(),
    }
}

impl<S: TensorSource> WeightSource for Incoming<S> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .entries
            .keys()
            .chain(self.zeros.keys())
            .cloned()
            .collect();
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if let Some(&length) = self.zeros.get(name) {
            return Some(vec![length]);
        }
        let entry = self.entries.get(name)?;
        let theirs = self.source.info(&entry.theirs[0])?.shape;
        Some(entry.our_shape(&theirs))
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        if self.zeros.contains_key(name) {
            return Some(DType::F32);
        }
        let entry = self.entries.get(name)?;
        dtype::to_burn(self.source.info(&entry.theirs[0])?.dtype)
    }

    fn check(&self, name: &str, expected: &[usize]) -> Result<(), WeightError> {
        let Some(entry) = self.entries.get(name) else {
            // parameters without an entry are zeros of the model's length
            return Ok(());
        };
        let expected = entry.their_shape(expected);
        for theirs in &entry.theirs {
            let path = self.path.clone();
            let name = self.source.called(theirs);
            let failure = match self.source.info(theirs) {
                None => InteropError::MissingTensor { path, name },
                Some(TensorInfo { shape, .. }) if shape != expected => InteropError::TensorShape {
                    path,
                    name,
                    found: shape,
                    expected,
                },
                Some(TensorInfo { dtype, .. }) if dtype::to_burn(dtype).is_none() => {
                    unsupported(path, name, dtype)
                }
                Some(_) => continue,
            };
            return Err(WeightError::Read(Box::new(failure)));
        }
        Ok(())
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        if let Some(&length) = self.zeros.get(name) {
            return Ok(TensorData::zeros::<f32, _>([length]));
        }
        let Some(entry) = self.entries.get(name) else {
            return Err(WeightError::Missing {
                path: self.path.clone(),
                names: vec![name.into()],
            });
        };
        let stacked = (entry.take == Take::Stack).then_some(entry.theirs.len());
        self.read(entry, &entry.theirs, stacked)
            .map_err(|error| WeightError::Read(Box::new(error)))
    }

    /// Reads only one expert.
    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(WeightError::Missing {
                path: self.path.clone(),
                names: vec![name.into()],
            });
        };
        self.read(entry, std::slice::from_ref(&entry.theirs[index]), None)
            .map_err(|error| WeightError::Read(Box::new(error)))
    }
}
