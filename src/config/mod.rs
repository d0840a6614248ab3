//! Configuration: files to one validated [`Experiment`] per run.
//!
//! Loading is strict: unknown keys are refused with their path, missing ones are named, and every value is validated
//! before anything is built. [`fit`] tells whether a run fits a device's memory. This module sees the configuration
//! types of all others; no module that computes sees it.

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

/// Configuration of a run: model, tokenizer, data and training.
///
/// ```
/// use darkhorse_genesis::config::Experiment;
///
/// let mut experiment = Experiment::preset("tiny")?;
/// experiment.training.steps = 200;
/// experiment.data.train = vec!["my-text.txt".into()];
/// let json = experiment.to_json_pretty()?;
/// assert_eq!(Experiment::from_json(&json)?, experiment);
/// # Ok::<(), darkhorse_genesis::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Architecture of the model.
    pub model: ModelConfig,
    /// Tokenizer: a file, or one trained on the data.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// Training and validation text.
    #[serde(default)]
    pub data: DataConfig,
    /// Optimizer, schedule, batches and everything else about training.
    #[serde(default)]
    pub training: TrainingConfig,
}

impl Experiment {
    /// Reads and validates a JSON file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] if the file cannot be read, else [`ConfigError::InFile`] around the error of
    /// [`from_json`](Self::from_json).
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

    /// Loads one of the [`PRESETS`] by name.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnknownPreset`], which lists the valid names.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        Self::from_json(preset::json(name)?)
    }

    /// Parses and validates JSON.
    ///
    /// # Errors
    ///
    /// The first error, with its line and column or the path of its key.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        let experiment: Self = load::parse(json)?;
        experiment.validate()?;
        Ok(experiment)
    }

    /// Writes indented JSON with every default spelled out.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Write`] if a number has no JSON form.
    pub fn to_json_pretty(&self) -> Result<String, ConfigError> {
        serde_json::to_string_pretty(self).map_err(ConfigError::Write)
    }

    /// Fewest tokens per row that train every part of the model: one input, the next token, and one more per MTP
    /// module.
    pub fn shortest_row(&self) -> usize {
        self.model.num_nextn_predict_layers + 2
    }

    /// Name of the preset with this model, ignoring the vocabulary's size and the domains.
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

    /// Checks every value and the relations between values.
    ///
    /// # Errors
    ///
    /// The first invalid value, by its path.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::experiment(self)
    }
}
