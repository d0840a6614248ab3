//! What leaving experts out cost.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::criterion::Criterion;
use super::measured::{self, Measured};
use super::place::Place;
use crate::domain::Domain;

/// A model before and after, on text that was not used for the choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The model that experts were taken from.
    pub of: String,
    /// What they were judged by.
    pub criterion: Criterion,
    /// Origin of the draws, where they were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whose tokens they were judged on; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Tokens that they were judged on.
    pub observed_tokens: u64,
    /// Experts of a layer that stay, by their numbers before, in their new order.
    pub kept: BTreeMap<Place, Vec<usize>>,
    /// The model as it was.
    pub before: Measured,
    /// The model without the others.
    pub after: Measured,
    /// `after.loss / before.loss - 1`.
    pub loss_change: f64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        measured::table(f, &self.before, &self.after)
    }
}
