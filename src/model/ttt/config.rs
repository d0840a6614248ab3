//! Configuration of test-time training.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};

/// Configuration of [`Metacognition`](super::Metacognition).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TttConfig {
    /// Rank of the correction to the slow weights.
    pub rank: usize,
    /// Initial inner learning rate; in [`TttMode::Dual`] also its upper bound.
    #[serde(default = "TttConfig::default_inner_lr")]
    pub inner_lr: f64,
    /// Share of the adapted states in the output at full confidence.
    #[serde(default = "TttConfig::default_strength")]
    pub strength: f64,
    /// Learning rule of the fast weights.
    #[serde(default)]
    pub mode: TttMode,
    /// Inputs of the inner learning task.
    #[serde(default)]
    pub views: TttViews,
}

/// Learning rule of the fast weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TttMode {
    /// Per channel, from all earlier tokens at once.
    #[default]
    Dual,
    /// As a matrix, by one gradient step per mini-batch of tokens.
    MiniBatch {
        /// Tokens per mini-batch.
        tokens: usize,
    },
}

/// Inputs of the inner learning task in [`TttMode::Dual`]; [`TttMode::MiniBatch`] ignores this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TttViews {
    /// The normalized tokens serve as queries, keys and values.
    #[default]
    Shared,
    /// Queries, keys and values are projections of the normalized tokens.
    Projected,
}

impl TttConfig {
    fn default_inner_lr() -> f64 {
        0.01
    }

    fn default_strength() -> f64 {
        0.2
    }

    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        ModelConfigError::in_range("rank", self.rank, 1, MAX_SIZE)?;
        ModelConfigError::positive("inner_lr", self.inner_lr)?;
        if !(0.0..=1.0).contains(&self.strength) {
            return Err(ModelConfigError::NotAFraction {
                field: "strength".into(),
                value: self.strength,
            });
        }
        match self.mode {
            TttMode::Dual => Ok(()),
            TttMode::MiniBatch { tokens } => {
                ModelConfigError::in_range("mode.mini_batch.tokens", tokens, 1, usize::MAX)
            }
        }
    }
}
