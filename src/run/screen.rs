//! Progress of a run on a screen that is not a dashboard: one line every few steps, above a progress bar if there is
//! one.

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

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// burn-train's dashboard.
    Dashboard,
    /// One line every few steps.
    Lines,
    /// Nothing.
    Nothing,
}

/// A metrics renderer for burn-train that prints lines.
#[derive(Debug)]
pub struct Lines {
    /// Steps between two lines; none: no lines.
    every: Option<usize>,
    names: HashMap<MetricId, String>,
    latest: Vec<(String, f64)>,
    /// The first step of this process, and the time at which it ended.
    first: Option<(usize, Instant)>,
}

impl Lines {
    /// Prints a line every `every` steps.
    pub fn new(every: u64) -> Self {
        Self {
            every: Some(every.max(1) as usize),
            ..Self::none()
        }
    }

    /// Prints nothing.
    pub fn none() -> Self {
        Self {
            every: None,
            names: HashMap::new(),
            latest: Vec::new(),
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
        // 98.765 and 101 have the same precision as measurements of a rate
        let part = |(name, value): &(String, f64)| {
            if value.abs() >= 100.0 || name.contains(" per ") && value.abs() >= 10.0 {
                format!("{} {value:.0}", name.to_lowercase())
            } else {
                format!("{} {value:.3}", name.to_lowercase())
            }
        };
        self.latest.iter().map(part).collect::<Vec<_>>().join("  ")
    }
}

/// Estimated time for the `rest` steps, if `done` steps took `taken`; `None` before the first step is done.
fn left(taken: Duration, done: usize, rest: usize) -> Option<String> {
    let per_step_s = (done > 0).then(|| taken.as_secs_f64() / done as f64)?;
    let left = Duration::try_from_secs_f64(per_step_s * rest as f64).ok()?;
    Some(format!("{} left", indicatif::HumanDuration(left)))
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.keep(state);
    }

    fn update_valid(&mut self, _state: MetricState) {}

    fn render_train(&mut self, item: TrainingProgress, _indicators: Vec<ProgressType>) {
        let Some(every) = self.every else { return };
        let (step, total) = (
            item.global_progress.items_processed,
            item.global_progress.items_total,
        );
        let (first, since) = *self.first.get_or_insert_with(|| (step, Instant::now()));
        // the third step already gives an estimate of the remaining time
        if !step.is_multiple_of(every) && ![first, first + 2, total].contains(&step) {
            return;
        }
        let left = left(since.elapsed(), step - first, total.saturating_sub(step));
        let left = left.map_or_else(String::new, |left| format!("  {left}"));
        // a run continues even if nobody reads its lines
        let _ = writeln!(
            io::stdout(),
            "step {step:>6}/{total}  {}{left}",
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

/// A metric logger that does nothing, since the journal has every number.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers() {
        let mut lines = Lines::new(1);
        let latest = [
            ("Loss", 2.5),
            ("Tokens per second", 98.76),
            ("Tokens per second", 1234.5),
        ];
        lines.latest = latest.map(|(name, value)| (name.into(), value)).into();
        assert_eq!(
            lines.line(),
            "loss 2.500  tokens per second 99  tokens per second 1234"
        );
    }

    #[test]
    fn the_time_left_is_told_from_the_second_step_on() {
        assert_eq!(left(Duration::from_secs(9), 0, 5), None);
        assert_eq!(
            left(Duration::from_secs(10), 2, 24).as_deref(),
            Some("2 minutes left")
        );
        assert_eq!(
            left(Duration::from_secs(10), 2, 0).as_deref(),
            Some("0 seconds left")
        );
        assert_eq!(left(Duration::MAX, 1, usize::MAX), None);
    }
}
