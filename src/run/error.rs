//! What can end a training run.

use super::change::Change;
use super::uncounted::Uncounted;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::data::{DataError, Origin};
use crate::inference::{GenerationError, SamplingError};
use crate::telemetry::JournalError;
use crate::tokenizer::TokenizerError;
use crate::training::precision::PrecisionError;

/// A training run that could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
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
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// A loss that is no number.
    #[error(
        "the loss is not finite at step {step}: next token {next_token}{}; documents of the step: {}; {}: lower `--learning-rate` or look at these documents, then go on by `--resume`",
        mtp.map_or_else(String::new, |mtp| format!(", multi-token prediction {mtp}")),
        list(documents),
        saved_at(*saved)
    )]
    NotFinite {
        /// Optimizer step, from 1.
        step: u64,
        /// Next-token loss.
        next_token: f64,
        /// Multi-token prediction loss, of a model that has one.
        mtp: Option<f64>,
        /// Where the documents of the step came from.
        documents: Vec<Origin>,
        /// Step of the newest checkpoint, if there is one.
        saved: Option<u64>,
    },
    /// A feed that ended before the run did.
    #[error(
        "the training text ended before step {step} of {steps}, without an error; {}: go on by `--resume`",
        saved_at(*saved)
    )]
    OutOfRows {
        /// The step without rows, from 1.
        step: u64,
        /// Steps of the run.
        steps: u64,
        /// Step of the newest checkpoint, if there is one.
        saved: Option<u64>,
    },
    /// A step of which no token counts.
    #[error(
        "nothing to learn at step {step}: {reason}; leave such documents out, or raise `--seq-len` or `--batch-size` if the rows only cut off what is learned; documents of the step: {}",
        list(documents)
    )]
    NothingToLearn {
        /// Optimizer step, from 1.
        step: u64,
        /// Why no token counts.
        reason: Uncounted,
        /// Where the documents of the step came from.
        documents: Vec<Origin>,
    },
    /// Logits that nothing can be measured by.
    #[error(transparent)]
    Logits(#[from] crate::model::NotFinite),
    /// A loss that is no number, of logits that are.
    #[error(
        "the loss of an evaluation is not finite, but all logits are: they differ by more than the loss can be computed of"
    )]
    Evaluation,
    /// Validation text of which no token counts.
    #[error("nothing to measure in the documents that begin at {first}: {reason}; give others")]
    NothingToMeasure {
        /// Where its first document comes from.
        first: Origin,
        /// Why no token counts.
        reason: Uncounted,
    },
    /// Settings of the samples at the end.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Samples that the model does not take.
    #[error(transparent)]
    Generation(#[from] GenerationError),
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
    /// Text that is not what a run has read so far, and what was asked to change of it.
    #[error(
        "the training text is not what the run was trained on so far: {}; go on with that text, or begin another run",
        asked(.0)
    )]
    OtherText(Vec<Change>),
    /// A run that holds a model as it was imported or quantized.
    #[error(
        "run `{}` was {}", path.display(), if *quantized {
            "made by `quantize`, and weights in blocks are not trained: train the run that it was made from, and quantize that again".into()
        } else {
            format!("imported, not trained: begin a run with its weights by `train --init-from {}`", path.display())
        }
    )]
    NotTrained {
        /// The run's folder.
        path: std::path::PathBuf,
        /// Whether its weights are in blocks.
        quantized: bool,
    },
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

impl RunError {
    /// Whether the text is to blame, and not what became of the run.
    pub fn is_of_input(&self) -> bool {
        matches!(
            self,
            Self::NothingToLearn { .. } | Self::NothingToMeasure { .. }
        )
    }
}

fn asked(changes: &[Change]) -> String {
    match changes {
        [] => "its files have changed".into(),
        changes => {
            let lines: Vec<_> = changes.iter().map(Change::to_string).collect();
            lines.join(", ")
        }
    }
}

fn saved_at(step: Option<u64>) -> String {
    match step {
        Some(step) => format!("the checkpoint of step {step} is intact"),
        None => "there is no checkpoint yet".into(),
    }
}

fn progress(done: u64, asked: u64) -> String {
    if done == asked {
        format!("all {done} steps are done")
    } else {
        format!("{done} steps are done, {asked} were asked for")
    }
}

fn list(documents: &[Origin]) -> String {
    const SHOWN: usize = 8;
    let mut documents = documents.to_vec();
    documents.dedup();
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
