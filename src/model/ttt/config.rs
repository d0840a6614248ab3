//! What test-time training is configured by.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};

/// Configuration of [`Metacognition`](super::Metacognition).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TttConfig {
    /// Rank of the correction to the slow weights.
    pub rank: usize,
    /// Inner learning rate at first, and its upper bound.
    #[serde(default = "TttConfig::default_inner_lr")]
    pub inner_lr: f64,
    /// Share of the adapted states at full confidence.
    #[serde(default = "TttConfig::default_strength")]
    pub strength: f64,
    /// How fast weights learn.
    #[serde(default)]
    pub mode: TttMode,
    /// What they learn from.
    #[serde(default)]
    pub views: TttViews,
}

/// How fast weights learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TttMode {
    /// Per channel, over all earlier tokens at once.
    #[default]
    Dual,
    /// As a matrix, step by step.
    MiniBatch {
        /// Tokens of a step.
        tokens: usize,
    },
}

/// What fast weights learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TttViews {
    /// Queries, keys and values are the normalized tokens.
    #[default]
    Shared,
    /// Each has its projection.
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
