//! What LoRA trains of an experiment's model.

use crate::cli::failure::{Failure, OrInput};
use crate::config::Experiment;
use crate::model::CausalLm;
use crate::model::lora::{self, Adaptation};
use darkhorse_backends::select::Selected;

/// Counts the matrices that the experiment adapts, from the configuration alone; `None` if it trains all parameters.
pub(crate) fn adaptation(experiment: &Experiment) -> Result<Option<Adaptation>, Failure> {
    let Some(lora) = &experiment.training.lora else {
        return Ok(None);
    };
    let model = CausalLm::<Selected>::init(&experiment.model, 0, &Default::default());
    let model = lora::adapt(model, (&experiment.model, lora), 0).or_input()?;
    Ok(Some(lora::report(&model, lora)))
}
