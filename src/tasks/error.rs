//! Errors of tasks: their files, their data, their documents.

use std::path::PathBuf;

use crate::inference::GenerationError;
use crate::tokenizer::TokenizerError;

/// A task cannot be read or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// No task has this name, and no file is at this path.
    #[error("`{name}` is neither a task file nor a built-in task, which are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Names of the built-in tasks.
        known: String,
    },
    /// A file is missing or unreadable.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// A task file that is not YAML, or a key whose value cannot be used.
    #[error("{place}: {reason}")]
    Config {
        /// Path of the task file, with the line if it is known.
        place: String,
        /// The problem.
        reason: String,
    },
    /// A data file that cannot be read as records.
    #[error("{place}: {reason}")]
    Data {
        /// Path of the file, with the line or row.
        place: String,
        /// The problem.
        reason: String,
    },
    /// A document from which a task cannot make its requests.
    #[error("task `{task}`, document {document} of `{split}`: {reason}")]
    Document {
        /// Name of the task.
        task: String,
        /// Number of the document in its split, from 0.
        document: usize,
        /// Name of the split.
        split: String,
        /// The problem.
        reason: String,
    },
    /// A task that cannot be evaluated as asked.
    #[error("task `{task}`: {reason}")]
    Task {
        /// Name of the task.
        task: String,
        /// The problem.
        reason: String,
    },
    /// The tokenizer refuses a text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model cannot read a text, or its logits are not finite.
    #[error(transparent)]
    Model(#[from] GenerationError),
    /// The evaluation was stopped.
    #[error("the evaluation was stopped")]
    Stopped,
}
