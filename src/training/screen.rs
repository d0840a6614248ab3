//! Plain lines for a screen that is no terminal: one line every few steps, over a progress bar where there
//! is one.

use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn_train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// burn-train's renderer that prints lines.
#[derive(Debug)]
pub struct Lines {
    every: usize,
    names: HashMap<MetricId, String>,
    latest: Vec<(String, f64)>,
    begin: Instant,
    first: Option<usize>,
}

impl Lines {
    /// Prints a line every `every` steps.
    pub fn new(every: u64) -> Self {
        Self {
            every: every.max(1) as usize,
            names: HashMap::new(),
            latest: Vec::new(),
            begin: Instant::now(),
            first: None,
        }
    }

    fn keep(&mut self, state: MetricState) {
        let MetricState::Numeric(entry, value) = state else {
            return;
        };
        let Some(name) = self.names.get(&entry.metric_id) else {
            return;
        };
        match self.latest.iter_mut().find(|(known, _)| known == name) {
            Some((_, latest)) => *latest = value.current(),
            None => self.latest.push((name.clone(), value.current())),
        }
    }

    fn line(&self) -> String {
        let part = |(name, value): &(String, f64)| match value.abs() >= 100.0 {
            true => format!("{} {value:.0}", name.to_lowercase()),
            false => format!("{} {value:.3}", name.to_lowercase()),
        };
        self.latest.iter().map(part).collect::<Vec<_>>().join("  ")
    }
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.keep(state);
    }

    fn update_valid(&mut self, _state: MetricState) {}

    fn render_train(&mut self, item: TrainingProgress, _indicators: Vec<ProgressType>) {
        let (step, total) = (
            item.global_progress.items_processed,
            item.global_progress.items_total,
        );
        let first = *self.first.get_or_insert(step);
        if step % self.every != 0 && step != total && step != first {
            return;
        }
        let per_step_s = self.begin.elapsed().as_secs_f64() / (step - first + 1) as f64;
        let left_s = per_step_s * total.saturating_sub(step) as f64;
        let left = Duration::try_from_secs_f64(left_s).unwrap_or(Duration::MAX);
        let left = indicatif::HumanDuration(left);
        // a run goes on where nobody reads its lines any more
        let _ = writeln!(
            io::stdout(),
            "step {step:>6}/{total}  {}  {left} left",
            self.line()
        );
    }

    fn render_valid(&mut self, _item: TrainingProgress, _indicators: Vec<ProgressType>) {}
}

impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}

    fn render_test(&mut self, _item: EvaluationProgress, _indicators: Vec<ProgressType>) {}
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }
}

/// Keeps burn-train from writing metric files of its own: the journal has every number.
#[derive(Debug)]
pub(super) struct Unlogged;

impl MetricLogger for Unlogged {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
