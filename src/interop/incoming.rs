//! Tensors of another format as the weights of a model here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

use super::hugging_face::{HfConfig, RopeLayout, RopeRows};
use super::names::{self, Entry, Form};
use super::{InteropError, RawTensor, TensorInfo, TensorSource, dtype, layout};
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::ScoringFunc;
use crate::model::weights::{WeightError, WeightSource};

/// Weights under our names, in our order of dimensions, read from tensors with Hugging Face's.
#[derive(Debug)]
pub struct Incoming<S> {
    path: PathBuf,
    source: S,
    config: HfConfig,
    entries: BTreeMap<String, Entry>,
    /// Lengths of the routers' biases that the source does not have: those of softmax routers are zero.
    zeros: BTreeMap<String, usize>,
}

impl<S: TensorSource> Incoming<S> {
    /// Presents the tensors of `source`, which came from `path`, as those of `model`.
    ///
    /// # Errors
    ///
    /// [`InteropError::MissingTensor`] and [`InteropError::UnexpectedTensor`] for the first, by name.
    pub fn new(
        source: S,
        path: impl Into<PathBuf>,
        config: HfConfig,
        model: &ModelConfig,
    ) -> Result<Self, InteropError> {
        let path = path.into();
        let mut entries = names::entries(model);
        let experts = model.moe.as_ref().map_or(0, |moe| moe.n_routed_experts);
        let is_softmax = |moe: &MoeConfig| moe.router.scoring_func == ScoringFunc::Softmax;
        let is_softmax = model.moe.as_ref().is_some_and(is_softmax);
        let zeros: BTreeMap<String, usize> = entries
            .extract_if(.., |entry| {
                is_softmax && is_bias(entry) && source.info(&entry.theirs[0]).is_none()
            })
            .map(|entry| (entry.ours, experts))
            .collect();
        let mut known: BTreeSet<String> = names::mtp_copies(model)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for name in entries.iter().flat_map(|entry| &entry.theirs) {
            if source.info(name).is_none() {
                return Err(InteropError::MissingTensor {
                    path,
                    name: name.clone(),
                });
            }
            known.insert(name.clone());
        }
        let skipped = |name: &String| {
            // transformers writes the shared experts of a model that has none, with a width of zero
            let is_empty = source.info(name).is_some_and(|it| it.shape.contains(&0));
            known.contains(name) || is_empty || names::is_derived(name)
        };
        if let Some(name) = source.names().into_iter().find(|name| !skipped(name)) {
            return Err(InteropError::UnexpectedTensor { path, name });
        }
        let entries = entries.into_iter().map(|it| (it.ours.clone(), it));
        Ok(Self {
            path,
            source,
            config,
            entries: entries.collect(),
            zeros,
        })
    }

    /// One of their tensors, as it lies in ours.
    fn turned(&self, form: Form, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let mut tensor = self.source.tensor(name)?.finite(&self.path, name)?;
        if let Some(rows) = RopeRows::of(&self.config, name) {
            let layouts = [self.config.rope_layout(), RopeLayout::Interleaved];
            tensor = rows.reorder(tensor, layouts, &self.path, name)?;
        }
        Ok(match form {
            Form::Same => tensor,
            Form::Transposed | Form::Experts => layout::transposed(tensor),
        })
    }

    fn read(&self, entry: &Entry) -> Result<TensorData, InteropError> {
        let mut bytes = Vec::new();
        let mut read = None;
        for name in &entry.theirs {
            let tensor = self.turned(entry.form, name)?;
            if bytes.is_empty() {
                // once: growing would take twice as much
                bytes.reserve_exact(tensor.bytes.len() * entry.theirs.len());
            }
            let kind = (tensor.dtype, tensor.shape.clone());
            if let Some((dtype, shape)) = read.replace(kind.clone())
                && (dtype, shape) != kind
            {
                return Err(InteropError::TensorDtype {
                    path: self.path.clone(),
                    name: name.clone(),
                    found: format!("{} of {:?}", kind.0, kind.1),
                    expected: "the type and shape of the expert before it".into(),
                });
            }
            bytes.extend_from_slice(&tensor.bytes);
        }
        let (dtype, mut shape) = read.unwrap_or((Dtype::F32, Vec::new()));
        if entry.form == Form::Experts {
            shape.insert(0, entry.theirs.len());
        }
        self.values(&entry.theirs[0], bytes, shape, dtype)
    }

    fn values(
        &self,
        name: &str,
        bytes: Vec<u8>,
        shape: Vec<usize>,
        dtype: Dtype,
    ) -> Result<TensorData, InteropError> {
        match dtype::to_burn(dtype) {
            Some(dtype) => Ok(TensorData::from_bytes_vec(bytes, shape, dtype)),
            None => Err(unsupported(self.path.clone(), name.into(), dtype)),
        }
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

fn is_bias(entry: &Entry) -> bool {
    entry.ours.ends_with("e_score_correction_bias")
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
        let mut shape = self.source.info(&entry.theirs[0])?.shape;
        match entry.form {
            Form::Same => {}
            Form::Transposed => shape.reverse(),
            Form::Experts => {
                shape.reverse();
                shape.insert(0, entry.theirs.len());
            }
        }
        Some(shape)
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
            // what there is no entry for is zeros, in the length of the model
            return Ok(());
        };
        let mut expected = expected.to_vec();
        if entry.form == Form::Experts {
            expected.remove(0);
        }
        if entry.form != Form::Same {
            expected.reverse();
        }
        for theirs in &entry.theirs {
            let path = self.path.clone();
            let name = theirs.clone();
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
        self.read(entry)
            .map_err(|error| WeightError::Read(Box::new(error)))
    }

    /// Reads one expert, not all of them.
    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(WeightError::Missing {
                path: self.path.clone(),
                names: vec![name.into()],
            });
        };
        let theirs = &entry.theirs[index];
        self.turned(entry.form, theirs)
            .and_then(|it| self.values(theirs, it.bytes.into_owned(), it.shape, it.dtype))
            .map_err(|error| WeightError::Read(Box::new(error)))
    }
}
