//! Ledger of routing counts, passed from the forward pass to the optimizer step.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::routing::stats::Observed;

/// A value that may still be on the device.
pub enum Deferred<T> {
    /// Available.
    Ready(T),
    /// Read from the device on demand.
    Pending(Box<dyn FnOnce() -> T + Send>),
}

impl<T> Deferred<T> {
    /// A value that `read` fetches.
    pub fn new(read: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::Pending(Box::new(read))
    }

    /// Waits for the value.
    pub fn get(self) -> T {
        match self {
            Self::Ready(value) => value,
            Self::Pending(read) => read(),
        }
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Pending(_) => "Pending",
        })
    }
}

/// Loads and targets of one optimizer step, by MoE layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BalanceReport {
    /// Number of choices of every routed expert.
    pub loads: Vec<Vec<u64>>,
    /// Target number of choices of every routed expert.
    pub targets: Vec<Vec<f64>>,
    /// Number of choices of every null expert.
    #[serde(default)]
    pub null_loads: Vec<Vec<u64>>,
}

/// Ledger shared by all clones of a model: micro-batches write to it, the optimizer step reads it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    step: u64,
    seen: Vec<Vec<Deferred<Observed>>>,
    report: BalanceReport,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the observations of one micro-batch, one per MoE layer.
    pub fn record(&self, step: u64, layers: Vec<Deferred<Observed>>) {
        let mut entries = self.entries();
        entries.step = step;
        entries.seen.resize_with(layers.len(), Vec::new);
        for (layer, seen) in entries.seen.iter_mut().zip(layers) {
            layer.push(seen);
        }
    }

    /// Takes the step number and the merged observations of its micro-batches, one per MoE layer.
    pub fn take(&self) -> (u64, Vec<Observed>) {
        let (step, layers) = {
            let mut entries = self.entries();
            (entries.step, std::mem::take(&mut entries.seen))
        };
        let sum = |parts: Vec<Deferred<Observed>>| {
            parts
                .into_iter()
                .map(Deferred::get)
                .reduce(|mut sum, part| {
                    sum.merge(&part);
                    sum
                })
        };
        (step, layers.into_iter().filter_map(sum).collect())
    }

    /// Stores the report of a balancing step.
    pub fn publish(&self, report: BalanceReport) {
        self.entries().report = report;
    }

    /// Report of the last balancing step.
    pub fn report(&self) -> BalanceReport {
        self.entries().report.clone()
    }
}
