//! Counts that leave the forward pass and wait for the optimizer step.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::routing::stats::Observed;

/// A value that may still be on its way from the device.
pub enum Deferred<T> {
    /// Here.
    Ready(T),
    /// Comes when asked for.
    Pending(Box<dyn FnOnce() -> T + Send>),
}

impl<T> Deferred<T> {
    /// A value that `read` will fetch.
    pub fn new(read: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::Pending(Box::new(read))
    }

    /// Waits for it.
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

/// What balancing saw and aimed at in one optimizer step, by routed layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BalanceReport {
    /// Choices of every expert.
    pub loads: Vec<Vec<u64>>,
    /// What they should have been.
    pub targets: Vec<Vec<f64>>,
    /// Choices of every null expert.
    #[serde(default)]
    pub null_loads: Vec<Vec<u64>>,
}

/// Shared by all clones of a model: micro-batches write, the optimizer step reads.
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

    /// Adds what one micro-batch did, one entry per routed layer.
    pub fn record(&self, step: u64, layers: Vec<Deferred<Observed>>) {
        let mut entries = self.entries();
        entries.step = step;
        entries.seen.resize_with(layers.len(), Vec::new);
        for (layer, seen) in entries.seen.iter_mut().zip(layers) {
            layer.push(seen);
        }
    }

    /// Takes the step number and what its micro-batches did together, one entry per routed layer.
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

    /// Leaves the result of balancing for whoever reports it.
    pub fn publish(&self, report: BalanceReport) {
        self.entries().report = report;
    }

    /// The result of the last balancing.
    pub fn report(&self) -> BalanceReport {
        self.entries().report.clone()
    }
}
