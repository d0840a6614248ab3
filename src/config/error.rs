//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::preset::PRESETS;
use crate::model::ModelConfigError;
use crate::training::OutOfRange;

/// Why there is no [`Experiment`](super::Experiment).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file can be read, but not used.
    #[error("in the config `{}`", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<ConfigError>,
    },
    /// The text is not JSON.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser stumbled over.
        reason: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{path}`, {hint}")]
    UnknownKey {
        /// Its path.
        path: String,
        /// The key that may have been meant, or those that there are.
        hint: String,
    },
    /// A key that must be there.
    #[error("missing key `{path}`")]
    MissingKey {
        /// Its path.
        path: String,
    },
    /// A value of the wrong type.
    #[error("`{path}` at line {line}, column {column}: {reason}")]
    WrongType {
        /// Path of the key.
        path: String,
        /// Line of the end of the value, from 1.
        line: usize,
        /// Column of the end of the value.
        column: usize,
        /// What was expected.
        reason: String,
    },
    /// The keys of the first published Darkhorse Genesis.
    #[error("these keys have new names: {}", renamed(renames))]
    OldKeys {
        /// Old key, and where its value belongs now.
        renames: Vec<(&'static str, &'static str)>,
    },
    /// A value of the model that does not fit.
    #[error(transparent)]
    Model(ModelConfigError),
    /// Another value that does not fit.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// Experts that are to divide, and no place for more of them.
    #[error(
        "`training.mitosis` needs `model.moe.router.initial_experts`, the number of experts to begin with: {}",
        no_places(*experts)
    )]
    NoPlaces {
        /// Experts of the model; none if it is dense.
        experts: Option<usize>,
    },
    /// A name that is no preset's.
    #[error("unknown preset `{name}`, expected one of: {}", PRESETS.join(", "))]
    UnknownPreset {
        /// The name.
        name: String,
    },
    /// The configuration has no JSON form.
    #[error("cannot write the config")]
    Write(#[source] serde_json::Error),
}

fn renamed(renames: &[(&str, &str)]) -> String {
    let arrows = renames
        .iter()
        .map(|(old, new)| format!("`{old}` is now {new}"));
    arrows.collect::<Vec<_>>().join(", ")
}
fn no_places(experts: Option<usize>) -> String {
    match experts {
        Some(experts) => {
            format!("all {experts} places of `n_routed_experts` are taken from the start")
        }
        None => "this model has no experts".into(),
    }
}
