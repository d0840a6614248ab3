//! Training on the backend that a cargo feature selects, compiled once with the library.
//!
//! Code that is generic over the backend is compiled in every program that calls it, which takes minutes; this
//! function is not. A program with its own backend calls [`Job`] directly.

use burn::backend::Autodiff;
use darkhorse_backends::select::{Device, Selected};

use crate::model::CausalLm;
use crate::run::RunError;
use crate::run::Screen;
use crate::run::{Job, Trained};

/// Trains `model`, or one built from the job's experiment if it is `None`.
///
/// # Errors
///
/// The error that ended the run early; its checkpoints are intact.
pub fn train(
    job: Job,
    model: Option<CausalLm<Autodiff<Selected>>>,
    device: &Device,
    screen: Screen,
) -> Result<Trained<CausalLm<Selected>>, RunError> {
    match model {
        Some(model) => job.train_model(model, device, screen),
        None => job.train::<Autodiff<Selected>>(device, screen),
    }
}
