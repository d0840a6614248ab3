//! What can be wrong with a file of another format.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::model::weights::WeightError;

/// A file of another format that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what its name says.
    #[error("{}: {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is there, and where in the file.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A field whose value is not supported, or that does not fit another.
    #[error("{}: `{field}` is {}, expected {expected}", path.display(), short(found))]
    Field {
        /// The file.
        path: PathBuf,
        /// Full path of the field.
        field: String,
        /// Its value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// Tensors that the model needs and the file lacks.
    #[error("{}: tensor `{name}` is missing", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A tensor that the model has no place for.
    #[error("{}: tensor `{name}` has no place in the model that its configuration describes", path.display())]
    UnexpectedTensor {
        /// The file or folder.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A parameter that a family's files have no place for, and that changes what the model computes.
    #[error("{}: `{name}` has values up to {largest}, and files of {family} have no place for it: {instead}", path.display())]
    NoPlace {
        /// The model.
        path: PathBuf,
        /// The parameter, by its path in a model here.
        name: String,
        /// Its largest value, without the sign.
        largest: f32,
        /// The family.
        family: &'static str,
        /// What can be done.
        instead: &'static str,
    },
    /// A model that no family of another format describes.
    #[error("no other format describes this model: {reason}; there are {families}")]
    NoFamily {
        /// What does not fit.
        reason: String,
        /// All families that there are.
        families: String,
    },
    /// A model of a family that GGUF files are not written of.
    #[error("{}: {family} has no GGUF here", path.display())]
    NoGguf {
        /// The model.
        path: PathBuf,
        /// Its family.
        family: &'static str,
    },
    /// An archive of libtorch, and no libtorch to read or write it.
    #[error("{}: archives of libtorch need libtorch: rebuild with `--features tch`", path.display())]
    NoLibtorch {
        /// The archive.
        path: PathBuf,
    },
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// A tensor of another shape than the configuration asks for.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {expected:?}", path.display())]
    TensorShape {
        /// The file or folder.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor with values that are no weights.
    #[error("{}: tensor `{name}` has {count} values that are NaN or infinite, expected none", path.display())]
    NotFinite {
        /// The file or folder.
        path: PathBuf,
        /// Its name.
        name: String,
        /// How many values.
        count: usize,
    },
    /// A tensor of a type that is not supported here.
    #[error("{}: tensor `{name}` is {found}, expected {expected}", path.display())]
    TensorDtype {
        /// The file or folder.
        path: PathBuf,
        /// Its name.
        name: String,
        /// Its type.
        found: String,
        /// The types that are supported.
        expected: String,
    },
}

/// Most characters of a file that a message quotes.
const MOST: usize = 100;

/// The text, or its beginning.
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
