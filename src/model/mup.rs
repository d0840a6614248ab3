//! Width-independent hyperparameters: µP (<https://arxiv.org/abs/2203.03466>), table 8, as far as
//! Genesis-152M takes it. The rates of the optimizer are the training's concern.

use serde::{Deserialize, Serialize};

use super::error::{MAX_SIZE, ModelConfigError};

/// The width that hyperparameters were found at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MupConfig {
    /// Width of the residual stream that hyperparameters are meant for.
    pub base_width: usize,
    /// Factor on the logits at that width.
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

    /// How many times as wide a model is.
    pub fn width_multiplier(&self, hidden_size: usize) -> f64 {
        hidden_size as f64 / self.base_width as f64
    }
}
