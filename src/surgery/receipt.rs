//! What leaving experts out cost.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::criterion::Criterion;
use super::place::Place;
use crate::domain::Domain;
use crate::telemetry::{DomainRecord, EvalRecord};

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

/// What was measured of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Routed experts of a layer.
    pub experts: usize,
    /// Parameters in all.
    pub parameters: u64,
    /// Loss on the held-out text, in nats per token.
    pub loss: f64,
    /// The same by domain.
    pub domains: Vec<DomainRecord>,
    /// Tokens decoded per second, one sequence after a prompt of 128: the median.
    pub decoded_per_second: f64,
}

impl Measured {
    /// What an evaluation, a model's size and its speed say.
    pub fn new(experts: usize, parameters: u64, loss: &EvalRecord, speed: f64) -> Self {
        Self {
            experts,
            parameters,
            loss: loss.loss,
            domains: loss.domains.clone(),
            decoded_per_second: speed,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (&self.before, &self.after);
        let percent = |before: f64, after: f64| 100.0 * (after / before - 1.0);
        writeln!(
            f,
            "{:<24}{:>12}{:>12}{:>9}",
            "", "before", "after", "change"
        )?;
        let counts = [
            (
                "experts of a layer",
                before.experts as u64,
                after.experts as u64,
            ),
            ("parameters", before.parameters, after.parameters),
        ];
        for (what, before, after) in counts {
            let change = percent(before as f64, after as f64);
            writeln!(f, "{what:<24}{before:>12}{after:>12}{change:>+8.1} %")?;
        }
        let row = |f: &mut fmt::Formatter<'_>, what: &str, before: f64, after: f64| {
            let change = percent(before, after);
            writeln!(f, "{what:<24}{before:>12.3}{after:>12.3}{change:>+8.1} %")
        };
        row(f, "loss, nats per token", before.loss, after.loss)?;
        // the same text has the same domains
        for (before, after) in before.domains.iter().zip(&after.domains) {
            row(f, &format!("  {}", before.name()), before.loss, after.loss)?;
        }
        row(
            f,
            "tokens decoded per s",
            before.decoded_per_second,
            after.decoded_per_second,
        )
    }
}
