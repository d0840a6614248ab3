//! What is measured of a model before a change and after it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::telemetry::{DomainRecord, EvalRecord};

/// What was measured of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Routed experts of a layer.
    pub experts: usize,
    /// Experts that a token visits, in the mean over the layers; absent: as many as it chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visited: Option<f64>,
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
            visited: None,
            parameters,
            loss: loss.loss,
            domains: loss.domains.clone(),
            decoded_per_second: speed,
        }
    }
}

/// Both, row by row, with the change from one to the other.
pub(super) fn table(
    f: &mut fmt::Formatter<'_>,
    before: &Measured,
    after: &Measured,
) -> fmt::Result {
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
    if let (Some(before), Some(after)) = (before.visited, after.visited) {
        row(f, "experts a token visits", before, after)?;
    }
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
