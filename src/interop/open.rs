//! A model in another format, by its path alone.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::gguf::{GgufCheckpoint, StoredTypes};
use super::hugging_face::{Adapted, Dequantized, HfConfig, HfFolder, PerExpert, Plain, adapters};
use super::ot::{self, Archive};
use super::{Incoming, InteropError, Origin, TensorSource, genesis, new_folder};
use crate::model::ModelConfig;
use crate::model::weights::WeightSource;

/// A model of another format, opened for reading.
pub struct ForeignModel {
    /// What its file says it is, and the model here that is the same.
    pub config: HfConfig,
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
    /// The same beside a model whose conversations need tokens and a template that are not in it.
    WithoutChat(PathBuf),
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
    /// Opens a Hugging Face folder, a `.safetensors` or an `.ot` file with its `config.json` beside it, a GGUF file, or
    /// a checkpoint of the Genesis-152M package.
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
        if let Some(file) = ot::find(path) {
            let archive = Archive::open(&file)?;
            return Self::beside(archive, &file, new_folder::parent(&file), adapter);
        }
        let found = HfFolder::open(path)?;
        if path.is_file() && genesis::is_checkpoint(&found) {
            return genesis::open(found, path, adapter);
        }
        let folder = found.folder().to_path_buf();
        Self::beside(found, path, &folder, adapter)
    }

    /// A source of tensors at `path`, whose `config.json` and tokenizer are in `folder`.
    fn beside(
        source: impl TensorSource + 'static,
        path: &Path,
        folder: &Path,
        adapter: Option<&Path>,
    ) -> Result<Self, InteropError> {
        let config_path = folder.join("config.json");
        let (mut config, plain) = plain(source, path, &config_path)?;
        let is_tied = config.model.tie_word_embeddings;
        let tensors = Adapted::new(plain, path, is_tied, &adapters(folder, adapter))?;
        refuse_absurd_counts(&config.model, &tensors, &config_path)?;
        drop_absent_mtp(&mut config.model, &tensors);
        let mut origin = Origin::of(&config, &tensors);
        origin.read_folder(folder)?;
        let tokenizer = folder.join("tokenizer.json");
        Ok(Self {
            weights: Box::new(Incoming::new(tensors, path, &config)?),
            tokenizer: Ok(tokenizer
                .is_file()
                .then_some(ForeignTokenizer::File(tokenizer))),
            quantized: None,
            config,
            origin,
        })
    }

    fn gguf(path: &Path, adapter: Option<&Path>) -> Result<Self, InteropError> {
        let found = GgufCheckpoint::open(path)?;
        let config = found.config().clone();
        refuse_absurd_counts(&config.model, &found, path)?;
        let tokenizer = found.tokenizer().map(|files| {
            files.map(|files| ForeignTokenizer::Embedded {
                json: files.tokenizer,
                config: files.config,
            })
        });
        let types = found.file().types();
        let adapters: Vec<PathBuf> = adapter.map(Path::to_path_buf).into_iter().collect();
        let tensors = Adapted::new(found, path, config.model.tie_word_embeddings, &adapters)?;
        Ok(Self {
            origin: Origin::of(&config, &tensors),
            weights: Box::new(Incoming::new(tensors, path, &config)?),
            tokenizer,
            quantized: types.are_quantized().then_some(types),
            config,
        })
    }
}

/// The configuration in a file, and tensors under plain names: dequantized, every routed expert by itself under
/// DeepSeek's names. Whether the head is the embedding table is what the tensors say.
#[expect(clippy::type_complexity, reason = "a source in its wrappers")]
pub(super) fn plain<S: TensorSource>(
    source: S,
    path: &Path,
    config_path: &Path,
) -> Result<(HfConfig, PerExpert<Dequantized<Plain<S>>>), InteropError> {
    let mut plain = Plain::new(source, path)?;
    let mut config = HfConfig::open(config_path)?;
    let is_tied = plain.is_tied(config.model.tie_word_embeddings)?;
    config.model.tie_word_embeddings = is_tied;
    let plain = Dequantized::new(plain, path, config.quantization)?;
    Ok((config, PerExpert::new(plain, path)?))
}

/// Refuses a count of layers or experts that the file cannot hold, before a name is made for each of them.
fn refuse_absurd_counts(
    model: &ModelConfig,
    tensors: &dyn TensorSource,
    path: &Path,
) -> Result<(), InteropError> {
    let experts = model.moe.as_ref().map_or(0, |moe| moe.n_routed_experts);
    let layers = model.num_hidden_layers;
    let sparse = layers.saturating_sub(model.first_k_dense_replace);
    let routed = sparse.saturating_mul(experts);
    let modules = model.num_nextn_predict_layers;
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
