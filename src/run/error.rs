//! Errors that end a training run.

use super::change::Change;
use super::uncounted::Uncounted;
use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::data::{DataError, Origin};
use crate::inference::{GenerationError, SamplingError};
use crate::telemetry::JournalError;
use crate::tokenizer::TokenizerError;
use crate::training::precision::PrecisionError;

/// A training run could not begin or continue.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The text cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The run's folder cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The tokenizer has more ids than the embedding table has rows.
    #[error(
        "the tokenizer has {tokenizer} ids, but `model.vocab_size` is {model}: set it to at least {tokenizer}, or train a smaller tokenizer"
    )]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding table.
        model: usize,
    },
    /// The weights are quantized, and quantized weights cannot be trained.
    #[error(
        "`model.quantization` is set, but weights in blocks cannot be trained: leave it out, and quantize the result"
    )]
    InBlocks,
    /// There is no model whose matrices could be adapted.
    #[error(
        "`training.lora` adapts a trained model, and this run starts from random weights: name a model by `--init-from MODEL`, or leave `lora` out"
    )]
    NothingToAdapt,
    /// The model cannot be adapted as configured.
    #[error(transparent)]
    Lora(#[from] crate::model::lora::LoraError),
    /// The backend does not compute in this element type.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The training loss is not finite.
    #[error(
        "the loss is not finite at step {step}: next token {next_token}{}; documents of the step: {}; {}: lower `--learning-rate` or look at these documents, then go on by `--resume`",
        mtp.map_or_else(String::new, |mtp| format!(", multi-token prediction {mtp}")),
        list(documents),
        saved_at(*saved)
    )]
    NotFinite {
        /// Optimizer step, from 1.
        step: u64,
        /// Next-token loss, in nats per token.
        next_token: f64,
        /// Multi-token prediction loss, if the model has one.
        mtp: Option<f64>,
        /// Documents of the step.
        documents: Vec<Origin>,
        /// Step of the newest checkpoint, if there is one.
        saved: Option<u64>,
    },
    /// The training stream ended before the last step.
    #[error(
        "the training text ended before step {step} of {steps}, without an error; {}: go on by `--resume`",
        saved_at(*saved)
    )]
    OutOfRows {
        /// Step for which there were no rows, from 1.
        step: u64,
        /// Steps of the run.
        steps: u64,
        /// Step of the newest checkpoint, if there is one.
        saved: Option<u64>,
    },
    /// No token of a step counts in the loss.
    #[error(
        "nothing to learn at step {step}: {reason}; leave such documents out, or raise `--seq-len` or `--batch-size` if the rows only cut off what is learned; documents of the step: {}",
        list(documents)
    )]
    NothingToLearn {
        /// Optimizer step, from 1.
        step: u64,
        /// Why no token counts.
        reason: Uncounted,
        /// Documents of the step.
        documents: Vec<Origin>,
    },
    /// The logits are not finite.
    #[error(transparent)]
    Logits(#[from] crate::model::NotFinite),
    /// The evaluation loss is not finite although all logits are.
    #[error(
        "the loss of an evaluation is not finite, but all logits are: they differ by more than the loss can be computed of"
    )]
    Evaluation,
    /// No token of the validation text counts.
    #[error("nothing to measure in the documents that begin at {first}: {reason}; give others")]
    NothingToMeasure {
        /// The first document of the text.
        first: Origin,
        /// Why no token counts.
        reason: Uncounted,
    },
    /// The sampling settings of the final samples are invalid.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The model could not generate the final samples.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// All steps are done already.
    #[error("{}: nothing is left to train", progress(*done, *asked))]
    Finished {
        /// Optimizer steps done.
        done: u64,
        /// Optimizer steps asked for.
        asked: u64,
    },
    /// The change of a setting that a run cannot change.
    #[error(
        "`{}` is {}, but the run began with {}: leave it as it was to go on with the run, or train another one without `--resume`",
        .0.field, .0.now, .0.before
    )]
    Unchangeable(Box<Change>),
    /// The training text differs from the text that the run has read so far; holds the changed data settings.
    #[error(
        "the training text is not what the run was trained on so far: {}; go on with that text, or begin another run",
        asked(.0)
    )]
    OtherText(Vec<Change>),
    /// The run holds an imported or quantized model and cannot be resumed.
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
        /// Whether its weights are quantized.
        quantized: bool,
    },
    /// The run was stopped before the initial weights were saved.
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
    /// Whether the input text is at fault rather than the run.
    pub fn is_of_input(&self) -> bool {
        matches!(
            self,
            Self::NothingToLearn { .. }
                | Self::NothingToMeasure { .. }
                | Self::NothingToAdapt
                | Self::Lora(_)
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
