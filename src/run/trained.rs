//! A run that has ended.

use burn::module::AutodiffModule;

use super::stop::Ending;
use crate::model::CausalLm;
use crate::telemetry::{EvalRecord, SampleRecord};

/// A model without the gradients that it was trained with.
pub type EvaluationModel<B, M, R> = <CausalLm<B, M, R> as AutodiffModule<B>>::InnerModule;

/// A run that has ended.
#[derive(Debug)]
pub struct Trained<M> {
    /// The trained model.
    pub model: M,
    /// Optimizer steps done.
    pub steps: u64,
    /// Whether every step was done, and the last evaluation.
    pub ending: Ending,
    /// The last evaluation, with the documents' tags and without; none of a run that was stopped, and none without
    /// validation text.
    pub evaluation: Option<EvalRecord>,
    /// Texts that it writes, one per domain of its data.
    pub samples: Vec<SampleRecord>,
}
