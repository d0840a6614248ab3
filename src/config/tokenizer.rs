//! The tokenizer section of an experiment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The tokenizer of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerConfig {
    /// Read from a Hugging Face `tokenizer.json`.
    File(PathBuf),
    /// A byte-level BPE, trained on the data.
    Train {
        /// Number of token ids; absent: the model's `vocab_size`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vocab_size: Option<usize>,
    },
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self::Train { vocab_size: None }
    }
}
