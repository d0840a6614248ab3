//! Record of a pruning: its choices and its effect.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::criterion::Criterion;
use super::measured::{self, Measured};
use super::place::Place;
use crate::domain::Domain;

/// Measurements of a model before and after pruning, on text that was not used for the choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Name of the pruned model's source.
    pub of: String,
    /// Criterion by which experts were ranked.
    pub criterion: Criterion,
    /// Seed, if the criterion is random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Domain whose tokens the experts were ranked on; absent: all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Number of tokens that the experts were ranked on.
    pub observed_tokens: u64,
    /// Experts of each layer that stay, by their original numbers, in their new order.
    pub kept: BTreeMap<Place, Vec<usize>>,
    /// The model before pruning.
    pub before: Measured,
    /// The model after pruning.
    pub after: Measured,
    /// `after.loss / before.loss - 1`.
    pub loss_change: f64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        measured::table(f, &self.before, &self.after)
    }
}
