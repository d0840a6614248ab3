//! What null experts cost and saved.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::surgery::measured::{self, Measured};

/// A model before and after, on text that its routers did not learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrofitted {
    /// The model that was given null experts.
    pub of: String,
    /// Null experts of a layer.
    pub null_experts: usize,
    /// Experts that a token was to visit, in the mean.
    pub k_target: f64,
    /// Optimizer steps of the routers.
    pub steps: u64,
    /// Tokens of these steps.
    pub tokens: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// The model as it was.
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
