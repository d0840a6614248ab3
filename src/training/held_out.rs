//! A model on text that it was not trained on.

use super::error::TrainingError;
use super::evaluate::{self, BatchEvaluation};
use super::feed::ValidFeed;
use super::stop::Stop;
use crate::config::Experiment;
use crate::data::Tags;
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::telemetry::{EvalRecord, Record};

/// Evaluates with the documents' tags, and without. None if there is no text, or no token of it counts.
///
/// # Errors
///
/// Text that cannot be read.
pub fn evaluate<B, M, R>(
    model: &CausalLm<B, M, R>,
    valid: &ValidFeed,
    experiment: &Experiment,
    step: u64,
) -> Result<Option<EvalRecord>, TrainingError>
where
    B: darkhorse_backends::Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    evaluate_until(model, valid, experiment, step, &Stop::default())
}

/// The same, or none if someone asks to stop before it is done.
pub(super) fn evaluate_until<B, M, R>(
    model: &CausalLm<B, M, R>,
    valid: &ValidFeed,
    experiment: &Experiment,
    step: u64,
    stop: &Stop,
) -> Result<Option<EvalRecord>, TrainingError>
where
    B: darkhorse_backends::Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let pass = |tags: Tags| -> Result<Option<BatchEvaluation>, TrainingError> {
        let mut sum = None;
        for rows in valid.pass(tags) {
            if stop.is_asked() {
                break;
            }
            evaluate::merge(&mut sum, evaluate::measure(model, &rows?)?);
        }
        Ok(sum)
    };
    let (tagged, untagged) = (pass(Tags::Given)?, pass(Tags::Dropped)?);
    if stop.is_asked() {
        return Ok(None);
    }
    let domains = &experiment.model.domains;
    Ok(evaluate::record(
        step,
        tagged.as_ref(),
        untagged.as_ref(),
        domains,
    ))
}

/// Whether a step was evaluated already.
pub(super) fn has_evaluation(records: &[Record], step: u64) -> bool {
    let mut records = records.iter();
    records.any(
        |record| matches!(record, Record::Eval(found) if found.step == step && found.is_measured()),
    )
}
