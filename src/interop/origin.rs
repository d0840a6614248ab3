//! What the files of a model say that no model here has a place for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::hugging_face::TokenIds;
use super::{TensorSource, names};
use crate::model::ModelConfig;

/// Kept with a model that was read, so that it can be written as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Special tokens that its `config.json` names.
    pub token_ids: TokenIds,
    /// Copies of the embedding table and the head that its multi-token prediction modules do without. A
    /// model of ours lacks none: vLLM and llama.cpp use them, others ignore them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent_copies: BTreeSet<String>,
}

impl Origin {
    pub(super) fn of(
        model: &ModelConfig,
        token_ids: &TokenIds,
        tensors: &dyn TensorSource,
    ) -> Self {
        let copies = names::mtp_copies(model).into_iter().map(|(copy, _)| copy);
        Self {
            token_ids: token_ids.clone(),
            absent_copies: copies.filter(|copy| tensors.info(copy).is_none()).collect(),
        }
    }
}
