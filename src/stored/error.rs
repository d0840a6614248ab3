//! Why a model on disk cannot be opened or used.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::inference::{GenerationError, SamplingError};
use crate::interop::InteropError;
use crate::model::ModelConfigError;
use crate::model::matrix::Quantization;
use crate::model::weights::WeightError;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::chat::{ConversationError, TemplateError};

/// A model that cannot be opened, or that lacks what it is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing at this path.
    #[error(
        "{} does not exist, expected a run, a Hugging Face folder, a .safetensors, .ot or .gguf file",
        path.display()
    )]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// A run that was not saved yet.
    #[error(
        "run `{}` has no checkpoint yet: train it by `darkhorse-genesis train --out {0} --resume`",
        path.display()
    )]
    NoCheckpoint {
        /// Folder of the run.
        path: PathBuf,
    },
    /// An adapter beside a model that has other names than Hugging Face's.
    #[error(
        "{} is {kind}, and `--adapter` is for a Hugging Face folder, a .safetensors, .ot or .gguf file: import \
         that with its adapter first",
        path.display()
    )]
    NoAdapters {
        /// The model.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A tokenizer of another model.
    #[error(
        "the tokenizer of {} has {tokens} tokens, the model {rows}: they do not belong together",
        path.display()
    )]
    OtherTokenizer {
        /// Where the weights are.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Ids of the model.
        rows: usize,
    },
    /// A model without a tokenizer, of which text is asked.
    #[error("the model has no tokenizer.json beside it: name one by `--tokenizer FILE`")]
    NoTokenizer,
    /// A Genesis checkpoint, of which text is asked.
    #[error(
        "a Genesis checkpoint has no tokenizer in it: name GPT-NeoX's by `--tokenizer tokenizer.json`, or lay it beside \
         the model; https://huggingface.co/EleutherAI/pythia-70m has the file"
    )]
    NoGenesisTokenizer,
    /// A tokenizer that is there and cannot be read.
    #[error(transparent)]
    UnreadableTokenizer(Arc<OpenError>),
    /// Weights in blocks that are asked for in others.
    #[error(
        "the weights are in blocks already, {found:?}, and cannot become {wanted:?}: leave `--weights` out"
    )]
    OtherBlocks {
        /// How they are held.
        found: Quantization,
        /// How they are asked for.
        wanted: Quantization,
    },
    /// A run that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An experiment that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A model that cannot be built.
    #[error(transparent)]
    Model(#[from] ModelConfigError),
    /// A file of another format.
    #[error(transparent)]
    Interop(#[from] InteropError),
    /// Weights that are not the model's.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// A tokenizer that cannot be read or applied.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A chat template that cannot be read or applied.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Messages that are no conversation.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// Settings of sampling that are out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Text that cannot be generated.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}
