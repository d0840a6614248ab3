//! Everything that going on exactly takes, to a checkpoint and back.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::adamw::Moments;
use serde::{Deserialize, Serialize};

use super::optimizer::AdamWState;
use super::window::LoadWindow;
use crate::checkpoint::{Checkpoint, CheckpointError, Run, ValidLoss};
use crate::config::Experiment;
use crate::data::Position;
use crate::model::weights::{self, NamedTensor, WeightSource};

/// File of the weights in a checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
/// File of a run whose weights come from another model: what the files of that one said beside the model.
pub const ORIGIN_FILE: &str = "origin.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
const CONFIG_FILE: &str = "config.json";

/// What a run knows beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Updates that the optimizer did.
    pub optimizer_time: u64,
    /// Where the data stream stands.
    pub position: Position,
    /// Expert loads of the last steps.
    pub window: LoadWindow,
}

/// What a checkpoint says beside its tensors.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the run goes on with.
    pub experiment: &'a Experiment,
    /// How far it is.
    pub state: &'a RunState,
    /// Loss on the validation text, if it was measured at this step.
    pub valid: Option<ValidLoss>,
}

/// Writes a checkpoint: weights, optimizer moments under the names of their parameters, and `facts`.
///
/// # Errors
///
/// What the disk says; earlier checkpoints stay intact.
pub fn save<B: Backend, M: Module<B>, I: Backend>(
    run: &Run,
    model: &M,
    optimizer: &AdamWState<I>,
    facts: Facts<'_>,
) -> Result<Checkpoint, CheckpointError> {
    let names = weights::param_names(model);
    let mut moments: Vec<NamedTensor<'static>> = Vec::new();
    for (id, pair) in &optimizer.moments {
        let name = &names[id];
        moments.push(NamedTensor::new(
            format!("{name}.exp_avg"),
            pair.first.clone(),
        ));
        moments.push(NamedTensor::new(
            format!("{name}.exp_avg_sq"),
            pair.second.clone(),
        ));
    }
    moments.sort_by(|left, right| left.name.cmp(&right.name));
    run.save(facts.state.step, |writer| {
        writer.tensors(MODEL_FILE, weights::collect(model))?;
        writer.tensors(OPTIMIZER_FILE, moments)?;
        writer.json(CONFIG_FILE, facts.experiment)?;
        facts.valid.into_iter().for_each(|loss| writer.valid(loss));
        writer.json(STATE_FILE, facts.state)
    })
}

/// Whether training wrote a checkpoint; otherwise it holds the weights of another model.
pub fn is_of_training(checkpoint: &Checkpoint) -> bool {
    let mut files = checkpoint.manifest().files.iter();
    files.any(|file| file.name == STATE_FILE)
}

/// Where the data stream stood when a checkpoint was written.
///
/// # Errors
///
/// A damaged file.
pub fn position(checkpoint: &Checkpoint) -> Result<Position, CheckpointError> {
    let state: RunState = checkpoint.json(STATE_FILE)?;
    Ok(state.position)
}

/// Reads what [`save`] wrote; `model` says which parameters there are.
///
/// # Errors
///
/// A damaged file, or one of another model.
pub fn restore<B: Backend, M: Module<B>, I: Backend>(
    checkpoint: &Checkpoint,
    model: M,
    device: &I::Device,
) -> Result<(M, AdamWState<I>, RunState), CheckpointError> {
    checkpoint.verify()?;
    let state: RunState = checkpoint.json(STATE_FILE)?;
    let model = weights::load(model, &checkpoint.tensors(MODEL_FILE)?)?;
    let file = checkpoint.tensors(OPTIMIZER_FILE)?;
    let read = |name: String| -> Result<Option<Tensor<I, 1>>, CheckpointError> {
        if file.shape(&name).is_none() {
            return Ok(None);
        }
        let data: TensorData = file.data(&name)?;
        Ok(Some(Tensor::from_data(data, device)))
    };
    let mut moments = HashMap::new();
    for (id, name) in weights::param_names(&model) {
        let first = read(format!("{name}.exp_avg"))?;
        let second = read(format!("{name}.exp_avg_sq"))?;
        if let (Some(first), Some(second)) = (first, second) {
            moments.insert(id, Moments { first, second });
        }
    }
    let optimizer = AdamWState {
        time: state.optimizer_time,
        moments,
        gradient_norm: 0.0,
    };
    Ok((model, optimizer, state))
}
