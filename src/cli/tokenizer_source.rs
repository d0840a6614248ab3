//! The tokenizer of a command that needs no weights.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::stored;
use crate::tokenizer::Tokenizer;

/// Source of the tokenizer: a model, or a tokenizer file.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TokenizerSource {
    /// Model whose tokenizer is used: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file [default: none,
    /// --tokenizer names one]
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    model: Option<PathBuf>,
    /// tokenizer.json, or a folder with one [default: the model's]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
}

impl TokenizerSource {
    /// Reads the tokenizer.
    pub(crate) fn open(&self) -> Result<Tokenizer, Failure> {
        if let Some(path) = &self.tokenizer {
            return Tokenizer::from_file(path).or_input();
        }
        let path = self.model.as_deref().unwrap_or_else(|| ".".as_ref());
        let stored = stored::open(path)?;
        stored.tokenizer.readable()?.cloned().ok_or_else(|| {
            Failure::input(format!(
                "{} has no tokenizer.json: name one by `--tokenizer`",
                path.display()
            ))
        })
    }
}
