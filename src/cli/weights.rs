//! Where a command takes its weights from.

use std::path::PathBuf;

use crate::config::Experiment;

/// Where the weights come from.
#[derive(Debug)]
pub(crate) enum Weights {
    /// A run, or a model of another format.
    Stored {
        path: PathBuf,
        /// Folder of an adapter of it.
        adapter: Option<PathBuf>,
    },
    /// The newest run, of that name if there is one.
    Newest(Option<String>),
    /// Random ones for this experiment.
    Random(Box<Experiment>),
}
