//! Errors of opening or using a model on disk.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::inference::{GenerationError, SamplingError};
use crate::interop::InteropError;
use crate::model::ModelConfigError;
use crate::model::dtype::Dtype;
use crate::model::matrix::Quantization;
use crate::model::weights::WeightError;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::chat::{ConversationError, TemplateError};

/// A model cannot be opened, or lacks something that was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path does not exist.
    #[error(
        "{} does not exist, expected a run, a Hugging Face folder, a .safetensors, .ot or .gguf file",
        path.display()
    )]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// The run has no checkpoint yet.
    #[error(
        "run `{}` has no checkpoint yet: train it by `darkhorse-genesis train --out {0} --resume`",
        path.display()
    )]
    NoCheckpoint {
        /// Folder of the run.
        path: PathBuf,
    },
    /// The path is a checkpoint of a run, or a file in one; a run is opened by its folder.
    #[error("{} is a checkpoint of a run: name the run's folder, {}", path.display(), run.display())]
    CheckpointOfRun {
        /// The path.
        path: PathBuf,
        /// Folder of the run.
        run: PathBuf,
    },
    /// An adapter was given for a run, which does not use an adapter's tensor names.
    #[error(
        "{} is a run, and `--adapter` is for a Hugging Face folder, a .safetensors, .ot or .gguf file: import \
         that with its adapter first",
        path.display()
    )]
    AdapterOfRun {
        /// Path of the run.
        path: PathBuf,
    },
    /// The tokenizer has more ids than the model's embedding table: it is another model's.
    #[error(
        "the tokenizer of {} has {tokens} tokens, the model {rows}: they do not belong together",
        path.display()
    )]
    OtherTokenizer {
        /// Path of the weights.
        path: PathBuf,
        /// Number of ids that the tokenizer can give.
        tokens: usize,
        /// Rows of the embedding table.
        rows: usize,
    },
    /// Text was asked of a model without a tokenizer.
    #[error("the model has no tokenizer.json beside it: name one by `--tokenizer FILE`")]
    NoTokenizer,
    /// Text was asked of a Genesis checkpoint without a tokenizer.
    #[error(
        "a Genesis checkpoint has no tokenizer in it: name GPT-NeoX's by `--tokenizer tokenizer.json`, or lay it beside \
         the model; https://huggingface.co/EleutherAI/pythia-70m has the file"
    )]
    NoGenesisTokenizer,
    /// The tokenizer exists and cannot be read.
    #[error(transparent)]
    UnreadableTokenizer(Arc<OpenError>),
    /// The weights are quantized in one format and were asked for in another.
    #[error(
        "the weights are in blocks already, {found:?}, and cannot become {}: leave `--weights` out",
        wanted.name()
    )]
    OtherBlocks {
        /// Format of the weights.
        found: Quantization,
        /// Format that was asked for.
        wanted: Dtype,
    },
    /// The device does not compute with the type that was asked for.
    #[error("this device has no {}: take another `--weights`, as q8, or leave it out", wanted.name())]
    NoSuchType {
        /// Format that was asked for.
        wanted: Dtype,
    },
    /// The run cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The experiment's configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model's configuration is invalid.
    #[error(transparent)]
    Model(#[from] ModelConfigError),
    /// A file of another program's format cannot be read.
    #[error(transparent)]
    Interop(#[from] InteropError),
    /// The weights do not fit the model.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The tokenizer cannot be read or applied.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be read or applied.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The messages do not form a conversation.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// A sampling setting is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Generation failed.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}
