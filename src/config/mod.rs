//! Files to one [`Experiment`] value per run.
//!
//! Loading is strict: an unknown key is refused by its path, a missing one named, and everything is
//! validated before anything is built. [`fit`] answers whether a run can fit a device's memory. Sees the
//! configuration of every other module; nothing that computes sees this one.

mod data;
mod error;
pub mod fit;
mod growth;
mod load;
pub mod memory;
mod old_keys;
mod preset;
mod tokenizer;
mod validate;

pub use data::{DataConfig, VALID_SHARE};
pub use error::ConfigError;
pub use preset::PRESETS;
pub use tokenizer::TokenizerConfig;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;
use crate::training::TrainingConfig;

/// Everything that defines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The model.
    pub model: ModelConfig,
    /// Where its tokens come from.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// What it reads.
    #[serde(default)]
    pub data: DataConfig,
    /// How it learns.
    #[serde(default)]
    pub training: TrainingConfig,
}

impl Experiment {
    /// Reads and validates a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] if it cannot be read, else [`ConfigError::InFile`] around what
    /// [`from_json`](Self::from_json) found.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let json = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        Self::from_json(&json).map_err(|error| ConfigError::InFile {
            path: path.into(),
            source: Box::new(error),
        })
    }

    /// One of the [`PRESETS`], by name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`], which lists them.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        Self::from_json(preset::json(name)?)
    }

    /// Reads and validates a JSON text.
    ///
    /// # Errors
    ///
    /// What is wrong with it, by line and column or by the path of a key.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        let experiment: Self = load::parse(json)?;
        experiment.validate()?;
        Ok(experiment)
    }

    /// The same as an indented JSON text, with every default written out.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Write`] if a number has no JSON form.
    pub fn to_json_pretty(&self) -> Result<String, ConfigError> {
        serde_json::to_string_pretty(self).map_err(ConfigError::Write)
    }

    /// Fewest tokens of a row that teach every part of the model: a token, the next one, and one per MTP module.
    pub fn shortest_row(&self) -> usize {
        self.model.num_nextn_predict_layers + 2
    }

    /// Name of the preset whose model this is, whatever its vocabulary and its domains.
    pub fn preset_name(&self) -> Option<&'static str> {
        PRESETS.into_iter().find(|name| {
            Self::preset(name).is_ok_and(|preset| {
                let model = ModelConfig {
                    vocab_size: self.model.vocab_size,
                    domains: self.model.domains.clone(),
                    ..preset.model
                };
                model == self.model
            })
        })
    }

    /// Checks every value, and the relations between them.
    ///
    /// # Errors
    ///
    /// The first value that does not fit, by its path.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::experiment(self)
    }
}
