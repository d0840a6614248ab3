//! Opens models of any other format by their path.

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
    /// Configuration from its files, with the equivalent model of this crate.
    pub config: HfConfig,
    /// Facts that its files state beside the model.
    pub origin: Origin,
    /// Source of the weights, which are read on demand.
    pub weights: Box<dyn WeightSource>,
    /// Element types of its file, if some tensors are quantized and will be dequantized.
    pub quantized: Option<StoredTypes>,
    /// Its tokenizer, if it has one, or the reason why it cannot be read, which concerns only those who need it.
    pub tokenizer: Result<Option<ForeignTokenizer>, InteropError>,
}

/// Location of a tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub enum ForeignTokenizer {
    /// A `tokenizer.json` file.
    File(PathBuf),
    /// A `tokenizer.json` without the special tokens and the template that the model's conversations need.
    WithoutChat(PathBuf),
    /// `tokenizer.json` and `tokenizer_config.json`, embedded in the model's own file.
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
    /// Opens a Hugging Face folder, a `.safetensors` or `.ot` file with a `config.json` beside it, a GGUF file, or a
    /// checkpoint of the Genesis-152M package.
    ///
    /// # Errors
    ///
    /// Files that are absent, unreadable or unsupported.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        Self::open_with(path, None)
    }

    /// Opens a model and applies the LoRA adapter in the folder `adapter`, after the one in the model's own folder.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and an adapter that is unsupported or belongs to another model.
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

    /// Opens a source of tensors at `path`, with `config.json` and tokenizer in `folder`.
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

/// The configuration in a file, and tensors under plain names: dequantized, with one tensor per routed expert, under
/// DeepSeek's names. The tensors decide whether the head is tied to the embedding.
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

/// Refuses numbers of layers or experts that the file cannot have, before a name is created for each.
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

/// Turns off MTP modules that are not in the file; transformers writes their number even then.
fn drop_absent_mtp(model: &mut ModelConfig, tensors: &dyn TensorSource) {
    let first = format!("model.layers.{}.eh_proj.weight", model.num_hidden_layers);
    if tensors.info(&first).is_none() {
        model.num_nextn_predict_layers = 0;
    }
}
