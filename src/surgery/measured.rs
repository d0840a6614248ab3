//! Measurements of a model before and after a change.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::telemetry::{DomainRecord, EvalRecord};

/// Measurements of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Number of routed experts per layer.
    pub experts: usize,
    /// Mean number of experts that a token visits, over the layers; absent if that is the number of choices per
    /// token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visited: Option<f64>,
    /// Total number of parameters.
    pub parameters: u64,
    /// Loss on the held-out text, in nats per token.
    pub loss: f64,
    /// Mean loss per domain, in nats.
    pub domains: Vec<DomainRecord>,
    /// Decoding speed in tokens per second, the median: one sequence after a prompt of 128 tokens.
    pub decoded_per_second: f64,
}

impl Measured {
    /// Combines an evaluation with the model's size and its decoding speed in tokens per second.
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

/// Writes both measurements row by row, with the change between them.
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
    // both measurements have the same domains, since the text is the same
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
