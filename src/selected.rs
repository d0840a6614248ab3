//! Training on the backend that a cargo feature selects.
//!
//! What is generic over the backend is compiled anew in every program that calls it, for minutes; this is compiled
//! once, with the library. A program on a backend of its own calls [`Job`] itself.

use burn::backend::Autodiff;
use darkhorse_backends::select::{Device, Selected};

use crate::model::CausalLm;
use crate::run::RunError;
use crate::run::Screen;
use crate::run::{Job, Trained};

/// Trains `model`, or the one that the job's experiment describes.
///
/// # Errors
///
/// What ended the run early; its checkpoints are intact.
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
