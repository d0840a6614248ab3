//! Errors of a configuration.

use std::io;
use std::path::PathBuf;

use super::preset::PRESETS;
use crate::model::ModelConfigError;
use crate::training::OutOfRange;

/// Why a configuration cannot be read or is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The file can be read, but its content is invalid.
    #[error("in the config `{}`", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The error in its content.
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
        /// The parser's message.
        reason: String,
    },
    /// An unknown key.
    #[error("unknown key `{path}`, {hint}")]
    UnknownKey {
        /// Path of the key.
        path: String,
        /// The key that may have been meant, or the valid ones.
        hint: String,
    },
    /// A required key is missing.
    #[error("missing key `{path}`")]
    MissingKey {
        /// Path of the key.
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
        /// The expected type, in the parser's words.
        reason: String,
    },
    /// The file has keys of the first published Darkhorse Genesis.
    #[error("these keys have new names: {}", renamed(renames))]
    OldKeys {
        /// Old key, and the place where its value belongs now.
        renames: Vec<(&'static str, &'static str)>,
    },
    /// A value of the model is invalid.
    #[error(transparent)]
    Model(ModelConfigError),
    /// Another value is out of range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// `training.mitosis` is set, but no places are free for new experts.
    #[error(
        "`training.mitosis` needs `model.moe.router.initial_experts`, the number of experts to begin with: {}",
        no_places(*experts)
    )]
    NoPlaces {
        /// Routed experts of the model; none if it is dense.
        experts: Option<usize>,
    },
    /// There is no preset of this name.
    #[error("unknown preset `{name}`, expected one of: {}", PRESETS.join(", "))]
    UnknownPreset {
        /// The name that was given.
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
