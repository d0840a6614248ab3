//! Errors of loading weights.

use std::error::Error;
use std::path::PathBuf;

/// Weights do not fit a model, or cannot be read. Every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// Tensors of the module that the source lacks.
    #[error(
        "{} lacks {} of the module's tensors: {}; was it saved with another config?",
        path.display(), names.len(), shortened(names)
    )]
    Missing {
        /// Path of the source.
        path: PathBuf,
        /// All missing names, sorted.
        names: Vec<String>,
    },
    /// Tensors of the source that the module lacks.
    #[error(
        "{} has {} tensors that the module lacks: {}; was it saved with another config?",
        path.display(), names.len(), shortened(names)
    )]
    Unexpected {
        /// Path of the source.
        path: PathBuf,
        /// All unexpected names, sorted.
        names: Vec<String>,
    },
    /// A tensor whose shape differs from the module's.
    #[error("tensor `{name}` in {} has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// Path of the source.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Shape in the source.
        found: Vec<usize>,
        /// Shape in the module.
        expected: Vec<usize>,
    },
    /// A tensor whose type cannot be converted to the module's without loss.
    #[error("tensor `{name}` in {} has type {found}, expected {expected}", path.display())]
    Dtype {
        /// Path of the source.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Type in the source.
        found: String,
        /// Type of the module.
        expected: String,
    },
    /// A matrix whose rows are not whole quantization blocks.
    #[error(
        "tensor `{name}` in {} has rows of {width}, expected a multiple of {block} for weights in blocks: leave quantization out",
        path.display()
    )]
    NotInBlocks {
        /// Path of the source.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// Its last dimension.
        width: usize,
        /// Values per block.
        block: usize,
    },
    /// The source could not be read.
    #[error(transparent)]
    Read(Box<dyn Error + Send + Sync>),
}

/// The first few names, and the number of the others.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
