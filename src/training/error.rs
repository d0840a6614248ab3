//! What can end a training run.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::data::{DataError, Origin};
use crate::telemetry::JournalError;
use crate::tokenizer::TokenizerError;

use super::precision::Precision;

/// A training run that could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run's folder.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The run's metrics.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A tokenizer with more ids than the model has rows.
    #[error(
        "the tokenizer has {tokenizer} ids, but `model.vocab_size` is {model}: set it to at least {tokenizer}, or train a smaller tokenizer"
    )]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding table.
        model: usize,
    },
    /// Weights that are not numbers.
    #[error(
        "`model.quantization` is set, but weights in blocks cannot be trained: leave it out, and quantize the result"
    )]
    InBlocks,
    /// A type that the backend does not compute in.
    #[error(
        "`training.precision` is {}, which backend `{backend}` has no arithmetic for: train in f32, by `--precision f32`",
        precision.dtype().name()
    )]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// The backend, as it names itself.
        backend: String,
    },
    /// A loss that is no number.
    #[error(
        "the loss is not finite at step {step}: next token {next_token}, multi-token prediction {mtp}; documents of the step: {}; the last checkpoint is intact: lower `training.learning_rate` or look at these documents, then resume",
        list(documents)
    )]
    NotFinite {
        /// Optimizer step, from 1.
        step: u64,
        /// Next-token loss.
        next_token: f64,
        /// Multi-token prediction loss.
        mtp: f64,
        /// Where the documents of the step came from.
        documents: Vec<Origin>,
    },
    /// A run without a checkpoint to go on from.
    #[error("run `{}` has no checkpoint yet: start it anew in another folder", path.display())]
    NothingToResume {
        /// The run's folder.
        path: std::path::PathBuf,
    },
}

fn list(documents: &[Origin]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = documents
        .iter()
        .take(SHOWN)
        .map(Origin::to_string)
        .collect();
    match documents.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
