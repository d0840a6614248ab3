//! Record of adding null experts: its settings and its effect.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::surgery::measured::{self, Measured};

/// Measurements of a model before and after, on text that its routers did not learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrofitted {
    /// Name of the original model.
    pub of: String,
    /// Number of null experts per layer.
    pub null_experts: usize,
    /// Target of the mean number of experts that a token visits.
    pub k_target: f64,
    /// Optimizer steps of the routers' training.
    pub steps: u64,
    /// Tokens of these steps.
    pub tokens: u64,
    /// Duration of the training, in seconds.
    pub seconds: f64,
    /// The model before the change.
    pub before: Measured,
    /// The model with null experts.
    pub after: Measured,
    /// `after.loss / before.loss - 1`.
    pub loss_change: f64,
}

impl fmt::Display for Retrofitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        measured::table(f, &self.before, &self.after)
    }
}
