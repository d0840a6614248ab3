//! Checkpoints of the published Genesis-152M package: one safetensors file that carries its configuration.

mod config;
mod file;
mod names;
mod of_model;
#[cfg(test)]
mod tests;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};

use super::InteropError;
use super::{dtype, layout};
use crate::model::ModelConfig;
use crate::model::weights::{WeightError, WeightSource};
pub use config::GenesisConfig;
use file::File;
pub use names::{Entry, Form, entries};
pub use writing::write;

/// Key of the configuration in the file's metadata.
pub const CONFIG_KEY: &str = "genesis_config_json";

/// A checkpoint, opened for reading.
#[derive(Debug)]
pub struct GenesisCheckpoint {
    /// What the file says it is.
    pub config: GenesisConfig,
    /// The same as a model here.
    pub model: ModelConfig,
    /// Keys of its configuration that are not known here; they are ignored.
    pub unknown_keys: Vec<String>,
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Entry>,
}

impl GenesisCheckpoint {
    /// Whether a path is a safetensors file of this family, by its metadata or its tensors.
    ///
    /// A file that cannot be read is not.
    pub fn is_at(path: &Path) -> bool {
        let is_safetensors = path.extension().is_some_and(|it| it == "safetensors");
        is_safetensors
            && path.is_file()
            && File::open(path).is_ok_and(|file| {
                let has_parts = ["tok_emb.weight", "ln_f.omega"]
                    .iter()
                    .any(|name| file.info(name).is_some());
                file.metadata().contains_key(CONFIG_KEY) || has_parts
            })
    }

    /// Opens a file and checks its configuration and the names of its tensors.
    ///
    /// # Errors
    ///
    /// What is not there, not readable or not supported, and where.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let file = File::open(path)?;
        let Some(json) = file.metadata().get(CONFIG_KEY) else {
            return Err(InteropError::Malformed {
                path: path.to_path_buf(),
                found: format!("no `{CONFIG_KEY}` in its metadata"),
                expected: "a Genesis checkpoint, whose metadata says what it is".into(),
            });
        };
        let (config, unknown_keys) = GenesisConfig::parse(path, json)?;
        let (layers, tensors) = (config.n_layer, file.names().count());
        if layers > tensors {
            return Err(InteropError::Field {
                path: path.to_path_buf(),
                field: "n_layer".into(),
                found: layers.to_string(),
                expected: format!("no more than its {tensors} tensors hold"),
            });
        }
        let model = config.model(path)?;
        let mut entries = names::entries(&model, &config);
        let head = "lm_head.weight";
        if model.tie_word_embeddings && file.info(head).is_some() {
            // both are one parameter, and the head is loaded last
            for entry in entries.iter_mut().filter(|it| it.ours == "embed_tokens") {
                entry.theirs = head.into();
            }
        }
        let known: BTreeSet<&str> = entries.iter().map(|entry| entry.theirs.as_str()).collect();
        if let Some(name) = known.iter().find(|name| file.info(name).is_none()) {
            return Err(InteropError::MissingTensor {
                path: path.to_path_buf(),
                name: (*name).into(),
            });
        }
        let is_left = |name: &&str| {
            let is_table = model.tie_word_embeddings && *name == "tok_emb.weight";
            !known.contains(name) && !is_table && !names::is_derived(name)
        };
        if let Some(name) = file.names().find(is_left) {
            return Err(InteropError::UnexpectedTensor {
                path: path.to_path_buf(),
                name: name.into(),
            });
        }
        let entries = entries
            .into_iter()
            .map(|it| (it.ours.clone(), it))
            .collect();
        Ok(Self {
            config,
            model,
            unknown_keys,
            path: path.to_path_buf(),
            file,
            entries,
        })
    }

    fn read(&self, entry: &Entry) -> Result<TensorData, InteropError> {
        let name = &entry.theirs;
        let tensor = self.file.tensor(name)?.finite(&self.path, name)?;
        let tensor = match entry.form {
            Form::Same | Form::Convolution => tensor,
            Form::Transposed => layout::transposed(tensor),
        };
        let Some(dtype) = dtype::to_burn(tensor.dtype) else {
            return Err(InteropError::TensorDtype {
                path: self.path.clone(),
                name: entry.theirs.clone(),
                found: tensor.dtype.to_string(),
                expected: "F32, F16 or BF16".into(),
            });
        };
        let shape = entry.form.ours(&self.file_shape(entry));
        let bytes = tensor.bytes.into_owned();
        Ok(TensorData::from_bytes_vec(bytes, shape, dtype))
    }

    fn file_shape(&self, entry: &Entry) -> Vec<usize> {
        let info = self.file.info(&entry.theirs);
        info.map(|info| info.shape.clone()).unwrap_or_default()
    }
}

impl WeightSource for GenesisCheckpoint {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let entry = self.entries.get(name)?;
        Some(entry.form.ours(&self.file_shape(entry)))
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        let entry = self.entries.get(name)?;
        dtype::to_burn(self.file.info(&entry.theirs)?.dtype)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(WeightError::Missing {
                path: self.path.clone(),
                names: vec![name.into()],
            });
        };
        self.read(entry)
            .map_err(|error| WeightError::Read(Box::new(error)))
    }
}
