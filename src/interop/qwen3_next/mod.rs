//! Qwen3-Next in Hugging Face's format: gated DeltaNet, gated attention, experts with a gated shared one.
//!
//! Its blocks are those of this project in other clothes: the fused projections are taken apart here.
//! Multi-token prediction modules are ignored.

mod config;
mod names;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};

use super::hugging_face::{Adapted, HfFolder, PerExpert, Plain, adapters};
use super::{InteropError, RawTensor, TensorSource, dtype, layout};
use crate::model::ModelConfig;
use crate::model::weights::{WeightError, WeightSource};
pub use config::{LayerType, Qwen3NextConfig, RopeParameters};
pub use names::{Entry, entries};

/// A model, opened for reading.
#[derive(Debug)]
pub struct Qwen3NextCheckpoint {
    /// What its folder says it is.
    pub config: Qwen3NextConfig,
    /// The same as a model here.
    pub model: ModelConfig,
    path: PathBuf,
    tensors: Adapted<PerExpert<Plain<HfFolder>>>,
    entries: BTreeMap<String, Entry>,
    /// Routers choose by their scores alone.
    zeros: BTreeMap<String, usize>,
}

impl Qwen3NextCheckpoint {
    /// Whether a folder holds a model of this family.
    pub fn is_at(folder: &Path) -> bool {
        let text = std::fs::read_to_string(folder.join("config.json"));
        let json = text.ok().and_then(|it| serde_json::from_str(&it).ok());
        json.is_some_and(|it: serde_json::Value| it["model_type"] == "qwen3_next")
    }

    /// Opens a folder and checks its configuration and the names of its tensors.
    ///
    /// # Errors
    ///
    /// What is not there, not readable or not supported, and where.
    pub fn open(folder: &Path) -> Result<Self, InteropError> {
        Self::open_with(folder, None)
    }

    /// The same with the LoRA adapter in the folder `adapter`, after the one that lies in the model's own folder.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open); an adapter that is not supported, or not this model's.
    pub fn open_with(folder: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| InteropError::Io {
            path: path.clone(),
            source,
        })?;
        let mut config = Qwen3NextConfig::parse(&path, &text)?;
        let mut plain = Plain::new(HfFolder::open(folder)?, folder)?;
        config.tie_word_embeddings = plain.is_tied(config.tie_word_embeddings)?;
        let model = config.model(&path)?;
        let path = folder.to_path_buf();
        let experts = PerExpert::new(plain, folder)?;
        let adapters = adapters(folder, adapter);
        let source = Adapted::new(experts, folder, config.tie_word_embeddings, &adapters)?;
        let names = source.names();
        let (layers, experts) = (config.num_hidden_layers, config.num_experts);
        let tensors = names.len();
        if layers.saturating_mul(experts) > tensors {
            return Err(InteropError::Malformed {
                path: folder.join("config.json"),
                found: format!("{layers} layers with {experts} experts"),
                expected: format!("no more than the {tensors} tensors beside it hold"),
            });
        }
        // which rows are whose is written down row by row: there must be as many
        for (name, rows) in names::fused(&model, &config) {
            let Some(info) = source.info(&name) else {
                return Err(InteropError::MissingTensor { path, name });
            };
            let mut expected = info.shape.clone();
            match expected.first_mut() {
                Some(first) if *first == rows => continue,
                Some(first) => *first = rows,
                None => expected.push(rows),
            }
            return Err(InteropError::TensorShape {
                path,
                name,
                found: info.shape.clone(),
                expected,
            });
        }
        let entries = names::entries(&model, &config);
        let known: BTreeSet<&String> = entries.iter().flat_map(|entry| &entry.theirs).collect();
        if let Some(&name) = known.iter().find(|name| source.info(name).is_none()) {
            let name = name.clone();
            return Err(InteropError::MissingTensor { path, name });
        }
        let is_left = |name: &&String| !known.contains(name) && !name.starts_with("mtp.");
        if let Some(name) = names.iter().find(is_left) {
            let name = name.clone();
            return Err(InteropError::UnexpectedTensor { path, name });
        }
        let biases = (0..model.num_hidden_layers).map(|layer| {
            let name = format!("layers.{layer}.feed_forward.router.e_score_correction_bias");
            (name, config.num_experts)
        });
        Ok(Self {
            zeros: biases.collect(),
            entries: entries
                .into_iter()
                .map(|it| (it.ours.clone(), it))
                .collect(),
            config,
            model,
            path,
            tensors: source,
        })
    }

    /// The tensors of an entry, one after the other, in our order of dimensions.
    fn read(&self, entry: &Entry) -> Result<TensorData, InteropError> {
        let mut bytes = Vec::new();
        let mut found = None;
        for name in &entry.theirs {
            let mut tensor = self.tensors.tensor(name)?.finite(&self.path, name)?;
            if let Some(rows) = &entry.rows {
                tensor = chosen(tensor, rows);
            }
            if entry.is_projection {
                tensor = layout::transposed(tensor);
            }
            bytes.extend_from_slice(&tensor.bytes);
            found = Some(tensor.dtype);
        }
        let dtype = found.and_then(dtype::to_burn);
        let Some(dtype) = dtype else {
            return Err(InteropError::TensorDtype {
                path: self.path.clone(),
                name: entry.theirs[0].clone(),
                found: found.map_or_else(|| "nothing".into(), |it| it.to_string()),
                expected: "F32, F16 or BF16".into(),
            });
        };
        Ok(TensorData::from_bytes_vec(
            bytes,
            self.shape_of(entry),
            dtype,
        ))
    }

    fn shape_of(&self, entry: &Entry) -> Vec<usize> {
        let info = self.tensors.info(&entry.theirs[0]);
        let mut shape = info.map(|info| info.shape).unwrap_or_default();
        // a convolution is `[channels, 1, taps]`
        shape.retain({
            let mut at = 0;
            let is_conv = shape.len() == 3;
            move |_| {
                at += 1;
                !(is_conv && at == 2)
            }
        });
        if let (Some(rows), Some(first)) = (&entry.rows, shape.first_mut()) {
            *first = rows.len();
        }
        if entry.is_projection {
            shape.reverse();
        }
        if entry.is_stacked {
            shape.insert(0, entry.theirs.len());
        }
        shape
    }
}

/// Some rows of a tensor.
fn chosen<'a>(tensor: RawTensor<'_>, rows: &[usize]) -> RawTensor<'a> {
    let size = tensor.bytes.len() / tensor.shape[0].max(1);
    let bytes = rows
        .iter()
        .flat_map(|row| &tensor.bytes[row * size..][..size]);
    let mut shape = tensor.shape;
    shape[0] = rows.len();
    RawTensor {
        dtype: tensor.dtype,
        bytes: Cow::Owned(bytes.copied().collect()),
        shape,
    }
}

impl WeightSource for Qwen3NextCheckpoint {
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
        match self.zeros.get(name) {
            Some(&experts) => Some(vec![experts]),
            None => Some(self.shape_of(self.entries.get(name)?)),
        }
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        if self.zeros.contains_key(name) {
            return Some(DType::F32);
        }
        let entry = self.entries.get(name)?;
        dtype::to_burn(self.tensors.info(&entry.theirs[0])?.dtype)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        if let Some(&experts) = self.zeros.get(name) {
            return Ok(TensorData::zeros::<f32, _>([experts]));
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
}
