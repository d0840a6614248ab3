//! Model folders of Hugging Face: reading and writing of `config.json`, safetensors and tokenizer files.
//!
//! Peculiarities of files are removed by wrapping [`TensorSource`](super::TensorSource)s, so that readers see a
//! single form.

mod adapter;
mod card;
mod config;
mod engine_commands;
mod experts;
mod folder;
mod fp8;
mod front_matter;
mod generation;
mod plain;
mod safetensors_file;
mod shard_plan;
mod tokenizer_files;
mod writer;

use std::path::{Path, PathBuf};

use super::InteropError;

pub use adapter::{Adapted, Adapters, adapters};
pub use card::{ModelCard, ParameterCounts, TrainingFacts};
pub(super) use config::HeadDefaults;
pub use config::{ConfigKeys, Fp8Quantization, HfConfig, LATENT_NORM_EPS, TokenIds};
pub(super) use experts::one_spelling;
pub use experts::{PerExpert, mixtral_name};
pub use folder::HfFolder;
pub use fp8::Dequantized;
pub use front_matter::FrontMatter;
pub use generation::{GenerationConfig, StatedSampling};
pub use plain::Plain;
pub use tokenizer_files::TokenizerFiles;
pub use writer::ShardedWriter;
pub(super) use writer::write_file;

/// Folder of model folders and of other programs' results for tests.
#[cfg(test)]
const FIXTURES: &str = "tests/fixtures";

pub(super) fn malformed(
    path: impl Into<PathBuf>,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> InteropError {
    InteropError::Malformed {
        path: path.into(),
        found: found.into(),
        expected: expected.into(),
    }
}

pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> InteropError + '_ {
    move |source| InteropError::Io {
        path: path.to_path_buf(),
        source,
    }
}
