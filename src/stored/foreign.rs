//! Opens models of other programs' formats.

use std::path::Path;

use super::tokenizer::token_ids;
use super::{OpenError, Stored, StoredTokenizer};
use crate::config::Experiment;
use crate::interop::ForeignModel;
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
            adapters: None,
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
