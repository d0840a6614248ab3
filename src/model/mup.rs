//! Width-independent hyperparameters: µP (<https://arxiv.org/abs/2203.03466>), table 8, to the extent that
//! Genesis-152M uses it. Learning rates belong to the training configuration.

use serde::{Deserialize, Serialize};

use super::error::{MAX_SIZE, ModelConfigError};

/// Base width of µP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MupConfig {
    /// Value of `hidden_size` for which the hyperparameters were tuned.
    pub base_width: usize,
    /// Factor on the logits at the base width.
    #[serde(default = "MupConfig::default_output_mult")]
    pub output_mult: f64,
}

impl MupConfig {
    fn default_output_mult() -> f64 {
        1.0
    }

    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        ModelConfigError::in_range("base_width", self.base_width, 1, MAX_SIZE)?;
        ModelConfigError::positive("output_mult", self.output_mult)
    }

    /// Ratio of a model's width to the base width.
    pub fn width_multiplier(&self, hidden_size: usize) -> f64 {
        hidden_size as f64 / self.base_width as f64
    }
}
