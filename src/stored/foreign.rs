//! Opens models of other programs' formats.

use std::path::Path;

use super::tokenizer::{token_ids, with_chat_tokens};
use super::{OpenError, Stored, StoredTokenizer, origin_of, refuse_adapter};
use crate::config::Experiment;
use crate::interop::ForeignModel;
use crate::interop::genesis::GenesisCheckpoint;
use crate::interop::hugging_face::TokenIds;
use crate::model::ModelConfig;
use crate::training::TrainingConfig;

impl Stored {
    pub(super) fn foreign(path: &Path, adapter: Option<&Path>) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Absent {
                path: path.to_path_buf(),
            });
        }
        if GenesisCheckpoint::is_at(path) {
            refuse_adapter(path, adapter, "a Genesis checkpoint")?;
            return Self::genesis(path);
        }
        let found = ForeignModel::open_with(path, adapter)?;
        let tokenizer = found.tokenizer.map_err(OpenError::from);
        let tokenizer = tokenizer.and_then(|it| it.map(StoredTokenizer::of_foreign).transpose());
        let tokenizer = StoredTokenizer::of(tokenizer);
        let mut origin = found.origin;
        // some families leave special tokens to the tokenizer
        if origin.token_ids == TokenIds::default()
            && found.config.family.profile().bos_eos == (None, None)
        {
            origin.token_ids = token_ids(tokenizer.get());
        }
        Ok(Self {
            experiment: untrained(found.config.model),
            weights: found.weights,
            tokenizer,
            origin,
            quantized: found.quantized,
            journal: None,
            step: 0,
        })
    }

    /// Opens a checkpoint of the Genesis-152M package, with the tokenizer beside it if there is one.
    fn genesis(path: &Path) -> Result<Self, OpenError> {
        let found = GenesisCheckpoint::open(path)?;
        if !found.unknown_keys.is_empty() {
            let keys = found.unknown_keys.join(", ");
            tracing::warn!(
                "{}: keys without a meaning here are ignored: {keys}",
                path.display()
            );
        }
        for line in found.config.not_done() {
            tracing::warn!("{}: {line}", path.display());
        }
        let beside = path.with_file_name("tokenizer.json");
        let tokenizer = match StoredTokenizer::of_file(&beside) {
            StoredTokenizer::Read(tokenizer) => {
                StoredTokenizer::of(with_chat_tokens(&tokenizer).map(Some))
            }
            other => other,
        };
        Ok(Self {
            experiment: untrained(found.model.clone()),
            origin: origin_of(tokenizer.get()),
            quantized: None,
            journal: None,
            weights: Box::new(found),
            tokenizer,
            step: 0,
        })
    }
}

/// An experiment for a model that was trained elsewhere: default settings, rows no longer than the model's context.
pub fn untrained(model: ModelConfig) -> Experiment {
    let training = TrainingConfig::default();
    Experiment {
        training: TrainingConfig {
            seq_len: training.seq_len.min(model.max_position_embeddings),
            ..training
        },
        model,
        tokenizer: Default::default(),
        data: Default::default(),
    }
}
