//! What can end a training run.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::data::{DataError, Origin};
use crate::telemetry::JournalError;
use crate::tokenizer::TokenizerError;

use super::precision::Precision;
use super::resumption::Change;

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
        "the loss is not finite at step {step}: next token {next_token}, multi-token prediction {mtp}; documents of the step: {}; {}: lower `--learning-rate` or look at these documents, then go on by `--resume`",
        list(documents),
        saved_at(*saved)
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
        /// Step of the newest checkpoint, if there is one.
        saved: Option<u64>,
    },
    /// Every step is done.
    #[error("{}: nothing is left to train", progress(*done, *asked))]
    Finished {
        /// Optimizer steps done.
        done: u64,
        /// Optimizer steps asked for.
        asked: u64,
    },
    /// A setting that would make another run of it.
    #[error(
        "`{}` is {}, but the run began with {}: leave it as it was to go on with the run, or train another one without `--resume`",
        .0.field, .0.now, .0.before
    )]
    Unchangeable(Box<Change>),
    /// A run without the weights that it was to begin with.
    #[error(
        "run `{}` was stopped before the weights that it begins with were saved: start it again as it was started, without `--resume`",
        path.display()
    )]
    NothingToResume {
        /// The run's folder.
        path: std::path::PathBuf,
    },
}

fn saved_at(step: Option<u64>) -> String {
    match step {
        Some(step) => format!("the checkpoint of step {step} is intact"),
        None => "there is no checkpoint yet".into(),
    }
}

fn progress(done: u64, asked: u64) -> String {
    match done == asked {
        true => format!("all {done} steps are done"),
        false => format!("{done} steps are done, {asked} were asked for"),
    }
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
