//! What can be wrong with weights for a model.

use std::error::Error;
use std::path::PathBuf;

/// Weights that do not fit a model, or cannot be read. Every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// Tensors that the module has and the file has not.
    #[error(
        "{} lacks {} of the module's tensors: {}; was it saved with another config?",
        path.display(), names.len(), shortened(names)
    )]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// All of them, sorted.
        names: Vec<String>,
    },
    /// Tensors that the file has and the module has not.
    #[error(
        "{} has {} tensors that the module lacks: {}; was it saved with another config?",
        path.display(), names.len(), shortened(names)
    )]
    Unexpected {
        /// The file or folder.
        path: PathBuf,
        /// All of them, sorted.
        names: Vec<String>,
    },
    /// A tensor of another shape than the module's.
    #[error("tensor `{name}` in {} has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file or folder.
        path: PathBuf,
        /// Path of the tensor in the module.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the module.
        expected: Vec<usize>,
    },
    /// A tensor that cannot become the module's element type without loss of meaning.
    #[error("tensor `{name}` in {} has type {found}, expected {expected}", path.display())]
    Dtype {
        /// The file or folder.
        path: PathBuf,
        /// Path of the tensor in the module.
        name: String,
        /// Type in the file.
        found: String,
        /// What the module takes.
        expected: String,
    },
    /// A matrix that cannot be quantized.
    #[error(
        "tensor `{name}` in {} has rows of {width}, expected a multiple of {block} for weights in blocks: leave quantization out",
        path.display()
    )]
    NotInBlocks {
        /// The file or folder.
        path: PathBuf,
        /// Path of the tensor in the module.
        name: String,
        /// Its last dimension.
        width: usize,
        /// Numbers of a block.
        block: usize,
    },
    /// A source that could not be read.
    #[error(transparent)]
    Read(Box<dyn Error + Send + Sync>),
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
