//! Recovery of a converted model: the dense model that it was made of teaches it. [`refit`] solves for the down
//! projections, layer by layer; [`recover`] takes steps along gradients.
//!
//! The steps are after CMoE (<https://arxiv.org/abs/2502.04416>): low-rank updates of attention and experts, and the
//! routers and norms themselves, learn on a little text. The loss is that on the text, plus the divergence from the
//! teacher's next tokens, plus the relative error of the states after every layer.

mod at_head;
mod by_layer;
mod least_squares;
mod lesson;
mod refit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use burn::module::{AutodiffModule, ParamId};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use darkhorse_backends::{Ops, awake_gradients};

use at_head::at_head;
use by_layer::layer_error;
pub use lesson::{Lesson, Progress};
pub use refit::{RefitLayer, refit};

use crate::data::{DataError, PackedBatch};
use crate::model::lora::{self, LoraError};
use crate::model::routing::balance::{self, Goal};
use crate::model::routing::stats::{self, LoadCounts, Observed};
use crate::model::routing::{Route, Router, Routing};
use crate::model::weights::{InMemory, Merged, NamedTensor, WeightError, collect, param_names};
use crate::model::{CausalLm, ModelConfig};
use crate::training::batch::{self, MicroBatch};
use crate::training::groups::Group;
use crate::training::{AdamW, TrainingBackend, TrainingConfig};

/// A model cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The text cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be adapted.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The trained weights cannot be read from the device.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The loss is not finite.
    #[error(
        "the loss of recovery step {0} is not finite: take a smaller `--recover-rate`, or leave `--recover-steps` out"
    )]
    NotFinite(u64),
}

/// Teaches `student`, a model of `config`, to compute what `teacher` computes, and returns its weights, with the
/// updates merged. `next` returns the text of a step, counted from 1; `told` receives the progress.
///
/// # Errors
///
/// [`RecoveryError`].
pub fn recover<B: TrainingBackend>(
    teacher: &CausalLm<B::InnerBackend>,
    student: CausalLm<B>,
    (config, lesson): (&ModelConfig, &Lesson),
    mut next: impl FnMut(u64) -> Result<PackedBatch, DataError>,
    mut told: impl FnMut(Progress),
) -> Result<Merged, RecoveryError> {
    let mut student = lora::adapt(student, (config, &lesson.lora), lesson.seed)?;
    let mut optimizer = optimizer(&student, lesson);
    for step in 1..=lesson.steps {
        let batch = MicroBatch::of_step(step, vec![next(step)?], 0).remove(0);
        let (optimizer, rate) = (&mut optimizer, lesson.rate(step));
        let (taught, progress) = awake_gradients(move || {
            let (total, routings, progress) = losses(teacher, &student, &batch, lesson);
            let gradients = GradientsParams::from_grads(total.backward(), &student);
            let student = optimizer.step(rate, student, gradients);
            let student = balanced(student, &routings, &batch, (config, lesson.bias_speed));
            (student, progress)
        });
        student = taught;
        if !progress.is_finite() {
            return Err(RecoveryError::NotFinite(step));
        }
        told(progress);
    }
    let trained = weights_of(&student.valid())?;
    Ok(Merged::new(Box::new(trained), lesson.lora.scale()))
}

/// Copies the weights of a model from the device.
///
/// # Errors
///
/// A tensor cannot be read.
pub fn weights_of<B: Ops>(model: &CausalLm<B>) -> Result<InMemory, WeightError> {
    let tensors = collect(model).into_iter().map(|tensor: NamedTensor<'_>| {
        let name = tensor.name.clone();
        Ok((name, tensor.read()?))
    });
    let tensors = tensors.collect::<Result<Vec<_>, WeightError>>()?;
    Ok(InMemory::new("the recovered model", tensors))
}

/// AdamW without weight decay; whatever is no low-rank factor has the rate of whole parameters.
fn optimizer<B: TrainingBackend>(student: &CausalLm<B>, lesson: &Lesson) -> AdamW<B> {
    let whole = lesson.whole_rate / lesson.learning_rate;
    let group = |(id, name): (ParamId, String)| {
        let is_factor = name.ends_with(".lora_a") || name.ends_with(".lora_b");
        let rate = if is_factor { 1.0 } else { whole };
        (id, Group { rate, decay: 0.0 })
    };
    let groups: HashMap<_, _> = param_names(student).into_iter().map(group).collect();
    let config = TrainingConfig {
        weight_decay: 0.0,
        ..TrainingConfig::default()
    };
    AdamW::new(&config).with_groups(groups)
}

/// A scalar whose gradient is that of the loss, the routings of all layers, and what was measured.
fn losses<B: TrainingBackend>(
    teacher: &CausalLm<B::InnerBackend>,
    student: &CausalLm<B>,
    batch: &MicroBatch,
    lesson: &Lesson,
) -> (Tensor<B, 1>, Vec<Routing<B>>, Progress) {
    let device = student.embed_tokens.device();
    let taught = teacher.trace(&batch::sequences(&batch.rows, &device));
    let own = student.trace(&batch::sequences(&batch.rows, &device));
    let head = at_head(
        (teacher, taught.output.states),
        (student, own.output.states.clone()),
        batch,
        lesson.divergence,
    );
    let states = own.layers.iter().map(|layer| layer.hidden.clone());
    let taught = taught.layers.into_iter().map(|layer| layer.hidden);
    let error = layer_error(states, taught);
    let progress = Progress {
        step: batch.step,
        tokens: batch.step * (batch.rows.rows * batch.rows.seq_len) as u64,
        loss: head.loss,
        divergence: head.divergence,
        layer_error: error.clone().into_data().iter::<f64>().sum(),
    };
    let at_head = (own.output.states * Tensor::from_inner(head.gradient)).sum();
    let total = at_head + error.mul_scalar(lesson.layers);
    let routings = own.layers.into_iter().filter_map(|layer| layer.routing);
    (total, routings.collect(), progress)
}

/// Moves the balance of every router by the loads of a step.
fn balanced<B: TrainingBackend>(
    student: CausalLm<B>,
    routings: &[Routing<B>],
    batch: &MicroBatch,
    (config, speed): (&ModelConfig, f64),
) -> CausalLm<B> {
    if speed == 0.0 {
        return student;
    }
    let device = student.embed_tokens.device();
    let present = batch::present(&batch.rows, 0);
    let tags = batch::counting_tags::<B::InnerBackend>(&batch.rows.tags, &present, &device);
    let counted = batch::indicator::<B::InnerBackend, 1>(&present, [present.len()], &device);
    student.map_routers(|layer, router: Router<B>| {
        let routing = &routings[layer];
        let indices = routing.indices.clone().inner();
        let counts = stats::count(indices, tags.clone(), routing.slots());
        let counts: Vec<f32> = counts.into_data().iter::<f32>().collect();
        let margins = routing.margins.clone().map(|margins| {
            let histogram = balance::quantile::histogram(margins.inner(), counted.clone());
            let values: Vec<f32> = histogram.into_data().iter::<f32>().collect();
            balance::quantile::Margins::from_values(&values)
        });
        let seen = Observed {
            counts: LoadCounts::from_values(&counts, routing.experts),
            margins,
            growth: None,
        };
        let goal = Goal {
            target: balance::target_load(&seen.counts, &config.domains),
            speed,
        };
        router.balance(&seen, &goal)
    })
}
