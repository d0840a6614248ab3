//! The result of a run.

use burn::module::AutodiffModule;

use super::stop::Ending;
use crate::model::CausalLm;
use crate::telemetry::{EvalRecord, SampleRecord};

/// A model without gradients, as evaluation uses it.
pub type EvaluationModel<B, M, R> = <CausalLm<B, M, R> as AutodiffModule<B>>::InnerModule;

/// The result of a run.
#[derive(Debug)]
pub struct Trained<M> {
    /// The trained model.
    pub model: M,
    /// Optimizer steps done.
    pub steps: u64,
    /// Whether all steps and the final evaluation were done.
    pub ending: Ending,
    /// The final evaluation, with the documents' tags and without; `None` if the run was stopped or has no validation
    /// text.
    pub evaluation: Option<EvalRecord>,
    /// Sample texts that the trained model wrote, by domain.
    pub samples: Vec<SampleRecord>,
}
