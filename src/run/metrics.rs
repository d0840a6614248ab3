//! Metrics for the learner's dashboard.

use std::sync::Arc;

use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};

use crate::training::StepReport;

/// One metric of a [`StepReport`].
#[derive(Debug, Clone)]
pub struct StepMetric {
    name: MetricName,
    pick: fn(&StepReport) -> Option<f64>,
    higher_is_better: bool,
    current: f64,
}

impl StepMetric {
    fn new(name: &str, higher_is_better: bool, pick: fn(&StepReport) -> Option<f64>) -> Self {
        Self {
            name: Arc::new(name.into()),
            pick,
            higher_is_better,
            current: f64::NAN,
        }
    }

    /// Next-token loss, in nats per token.
    pub fn loss() -> Self {
        Self::new("Loss", false, |report| Some(report.losses.next_token))
    }

    /// Loss of the MTP modules, in nats per token; only for models that have them.
    pub fn mtp_loss() -> Self {
        Self::new("MTP loss", false, |report| report.losses.mtp)
    }

    /// Worst overload of an expert (`MaxVio`); only for models with routers.
    pub fn max_violation() -> Self {
        Self::new("MaxVio", false, |report| report.max_violation)
    }

    /// Global L2 norm of the gradients.
    pub fn gradient_norm() -> Self {
        Self::new("Gradient norm", false, |report| report.gradient_norm)
    }

    /// Training speed, in tokens per second.
    pub fn speed() -> Self {
        Self::new("Tokens per second", true, |report| report.tokens_per_s)
    }
}

impl Metric for StepMetric {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        MetricAttributes::Numeric(NumericAttributes {
            unit: None,
            higher_is_better: self.higher_is_better,
        })
    }

    fn update(&mut self, report: &StepReport, _metadata: &MetricMetadata) -> SerializedEntry {
        // a step without the value keeps the last one
        self.current = (self.pick)(report).unwrap_or(self.current);
        SerializedEntry::new(
            format!("{}: {:.4}", self.name, self.current),
            self.current.to_string(),
        )
    }

    fn clear(&mut self) {}
}

impl Numeric for StepMetric {
    fn value(&self) -> NumericEntry {
        NumericEntry::Value(self.current)
    }

    fn running_value(&self) -> NumericEntry {
        self.value()
    }
}

impl Adaptor<StepReport> for StepReport {
    fn adapt(&self) -> StepReport {
        *self
    }
}
