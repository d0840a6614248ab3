//! A model in another format, by its path alone.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::gguf::{GgufCheckpoint, StoredTypes};
use super::hugging_face::{Adapted, HfConfig, HfModel, PerExpert, Plain, adapters};
use super::ot::{self, Archive};
use super::{Incoming, InteropError, Origin, TensorSource, family, new_folder};
use crate::model::ModelConfig;
use crate::model::weights::WeightSource;

/// A model of another format, opened for reading.
pub struct ForeignModel {
    /// What its file says it is.
    pub config: HfConfig,
    /// The same as a model here.
    pub model: ModelConfig,
    /// What else its files say.
    pub origin: Origin,
    /// Its weights, read when they are asked for.
    pub weights: Box<dyn WeightSource>,
    /// Element types of its file, if some of its tensors are in blocks and have to be dequantized.
    pub quantized: Option<StoredTypes>,
    /// Its tokenizer, if it has one; or why it cannot be read, which matters to who needs it.
    pub tokenizer: Result<Option<ForeignTokenizer>, InteropError>,
}

/// Where a tokenizer is found.
#[derive(Debug, Clone, PartialEq)]
pub enum ForeignTokenizer {
    /// `tokenizer.json` in a folder.
    File(PathBuf),
    /// Within the model's own file: `tokenizer.json` and `tokenizer_config.json`.
    Embedded {
        /// `tokenizer.json`.
        json: Value,
        /// `tokenizer_config.json`.
        config: Option<Value>,
    },
}

impl fmt::Debug for ForeignModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignModel")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ForeignModel {
    /// Opens a Hugging Face folder, a `.safetensors` or an `.ot` file with its `config.json` beside it, or a
    /// GGUF file.
    ///
    /// # Errors
    ///
    /// What is not there, not readable or not supported, and where.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        Self::open_with(path, None)
    }

    /// Opens a model and applies the LoRA adapter in the folder `adapter`, after the one that lies in the model's own
    /// folder.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open); an adapter that is not supported, or not this model's.
    pub fn open_with(path: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        if path.extension().is_some_and(|it| it == "gguf") {
            return Self::gguf(path, adapter);
        }
        match ot::find(path) {
            Some(archive) => Self::libtorch(&archive, adapter),
            None => Self::hugging_face(path, adapter),
        }
    }

    fn hugging_face(path: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        let found = HfModel::open_with(path, adapter)?;
        let folder = found.folder().folder().to_path_buf();
        Self::with_files_beside(found.tensors, path, found.config, &folder)
    }

    fn libtorch(path: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        let folder = new_folder::parent(path);
        let mut plain = Plain::new(Archive::open(path)?, path)?;
        let mut config = HfConfig::open(&folder.join("config.json"))?;
        let decoder = config.decoder_mut();
        decoder.tie_word_embeddings = plain.is_tied(decoder.tie_word_embeddings)?;
        let is_tied = decoder.tie_word_embeddings;
        let experts = PerExpert::new(plain, path)?;
        let tensors = Adapted::new(experts, path, is_tied, &adapters(folder, adapter))?;
        Self::with_files_beside(tensors, path, config, folder)
    }

    fn with_files_beside(
        tensors: impl TensorSource + 'static,
        path: &Path,
        config: HfConfig,
        folder: &Path,
    ) -> Result<Self, InteropError> {
        let config_path = folder.join("config.json");
        refuse_absurd_counts(&config, &tensors, &config_path)?;
        let mut model = family::model_config(&config, &config_path)?;
        drop_absent_mtp(&mut model, &tensors);
        let mut origin = Origin::of(&model, &config.decoder().token_ids, &tensors);
        origin.read_folder(folder)?;
        let tokenizer = folder.join("tokenizer.json");
        Ok(Self {
            weights: Box::new(Incoming::new(tensors, path, config.clone(), &model)?),
            tokenizer: Ok(tokenizer
                .is_file()
                .then_some(ForeignTokenizer::File(tokenizer))),
            quantized: None,
            config,
            model,
            origin,
        })
    }

    fn gguf(path: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        let found = GgufCheckpoint::open(path)?;
        let config = HfConfig::parse(path, &found.config().to_string())?;
        let mut model = family::model_config(&config, path)?;
        // llama.cpp has one epsilon for all norms
        if let Some(mla) = &mut model.mixer.mla {
            mla.latent_norm_eps = model.rms_norm_eps;
        }
        let tokenizer = found.tokenizer().map(|files| {
            files.map(|files| ForeignTokenizer::Embedded {
                json: files.tokenizer,
                config: files.config,
            })
        });
        let types = found.file().types();
        let experts = PerExpert::new(found, path)?;
        let adapters: Vec<PathBuf> = adapter.map(Path::to_path_buf).into_iter().collect();
        let tensors = Adapted::new(experts, path, model.tie_word_embeddings, &adapters)?;
        let origin = Origin::of(&model, &config.decoder().token_ids, &tensors);
        Ok(Self {
            weights: Box::new(Incoming::new(tensors, path, config.clone(), &model)?),
            tokenizer,
            quantized: types.are_quantized().then_some(types),
            config,
            model,
            origin,
        })
    }
}

/// Refuses a count of layers or experts that the file cannot hold, before a name is made for each of them.
fn refuse_absurd_counts(
    config: &HfConfig,
    tensors: &dyn TensorSource,
    path: &Path,
) -> Result<(), InteropError> {
    let (dense, modules, experts) = match config {
        HfConfig::DeepseekV3(config) => (
            config.first_k_dense_replace,
            config.num_nextn_predict_layers,
            config.n_routed_experts,
        ),
        HfConfig::Mixtral(config) => (0, 0, config.num_local_experts),
        HfConfig::Llama(_) => (0, 0, 0),
    };
    let layers = config.decoder().num_hidden_layers;
    let routed = layers.saturating_sub(dense).saturating_mul(experts);
    let held = tensors.names().len();
    // the modules that predict further tokens may be stated and absent
    if layers.max(routed).max(modules) <= held {
        return Ok(());
    }
    Err(InteropError::Malformed {
        path: path.to_path_buf(),
        found: format!("{layers} layers with {experts} experts"),
        expected: format!("no more than the {held} tensors beside it hold"),
    })
}

/// transformers writes a count of MTP modules even where it left them out of the file.
fn drop_absent_mtp(model: &mut ModelConfig, tensors: &dyn TensorSource) {
    let first = format!("model.layers.{}.eh_proj.weight", model.num_hidden_layers);
    if tensors.info(&first).is_none() {
        model.num_nextn_predict_layers = 0;
    }
}
