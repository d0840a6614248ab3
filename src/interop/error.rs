//! Errors of reading and writing other formats.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::model::weights::WeightError;

/// A file of another format cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The content does not fit the format.
    #[error("{}: {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The content found, and its place in the file.
        found: String,
        /// The expected content.
        expected: String,
    },
    /// A field's value is not supported, or contradicts another.
    #[error("{}: `{field}` is {}, expected {expected}", path.display(), short(found))]
    Field {
        /// The file.
        path: PathBuf,
        /// Full path of the field.
        field: String,
        /// Its value.
        found: String,
        /// The supported values.
        expected: String,
    },
    /// A tensor that the model needs is missing.
    #[error("{}: tensor `{name}` is missing", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// The model has no place for a tensor.
    #[error("{}: tensor `{name}` has no place in the model that its configuration describes", path.display())]
    UnexpectedTensor {
        /// The file or folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
    },
    /// A parameter is not zero, and the files of a family have no tensor for it.
    #[error("{}: `{name}` has values up to {largest}, and files of {family} have no place for it: {instead}", path.display())]
    NoPlace {
        /// The model.
        path: PathBuf,
        /// Name of the parameter here.
        name: String,
        /// Largest absolute value of the parameter, or of the domain prior that would be added to it.
        largest: f32,
        /// Name of the family.
        family: &'static str,
        /// Advice: how to avoid the error.
        instead: &'static str,
    },
    /// No family can describe this model.
    #[error("no other format describes this model: {reason}; there are {families}")]
    NoFamily {
        /// The differences from the nearest family.
        reason: String,
        /// Names of all families.
        families: String,
    },
    /// The model's family has no GGUF form here.
    #[error("{}: {family} has no GGUF here", path.display())]
    NoGguf {
        /// The model.
        path: PathBuf,
        /// Name of the family.
        family: &'static str,
    },
    /// A libtorch archive was given to a program built without libtorch.
    #[error("{}: archives of libtorch need libtorch: rebuild with `--features tch`", path.display())]
    NoLibtorch {
        /// The archive.
        path: PathBuf,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// A tensor's shape is not the one that the configuration requires.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file or folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The required shape.
        expected: Vec<usize>,
    },
    /// A tensor has values that are not finite.
    #[error("{}: tensor `{name}` has {count} values that are NaN or infinite, expected none", path.display())]
    NotFinite {
        /// The file or folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Number of such values.
        count: usize,
    },
    /// A tensor's element type is not supported.
    #[error("{}: tensor `{name}` is {found}, expected {expected}", path.display())]
    TensorDtype {
        /// The file or folder.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Its element type.
        found: String,
        /// The supported types.
        expected: String,
    },
}

/// Largest number of characters quoted from a file.
const MOST: usize = 100;

/// The text, shortened if it is long.
fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let error = InteropError::Field {
            path: "f".into(),
            field: "x".into(),
            found: "é".repeat(500),
            expected: "a".into(),
        };
        let cut = "é".repeat(100);
        assert_eq!(error.to_string(), format!("f: `x` is {cut}..., expected a"));
    }
}
