//! Measured speed of a model.

use serde::{Deserialize, Serialize};

/// Speed of one sequence, in tokens per second; medians.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the prompt that are read per second.
    pub prefill_per_second: f64,
    /// Tokens that are generated per second after the first.
    pub decode_per_second: f64,
}
