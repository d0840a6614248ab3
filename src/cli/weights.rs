//! Source of a command's weights.

use std::path::PathBuf;

use crate::config::Experiment;

/// Source of the weights.
#[derive(Debug)]
pub(crate) enum Weights {
    /// A run, or a model of another format.
    Stored {
        path: PathBuf,
        /// Folder of a LoRA adapter.
        adapter: Option<PathBuf>,
    },
    /// The newest run, of this preset if one is named.
    Newest(Option<String>),
    /// Random weights for this experiment.
    Random(Box<Experiment>),
}
