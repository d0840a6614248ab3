//! The training state that an exact resumption needs, to a checkpoint and back.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::adamw::Moments;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, Damage, Run, TensorFile, ValidLoss};
use crate::config::Experiment;
use crate::data::Position;
use crate::model::weights::{self, NamedTensor, WeightError, WeightSource};
use crate::training::mitosis::MitosisState;
use crate::training::optimizer::AdamWState;
use crate::training::window::LoadWindow;

/// File of the weights in a checkpoint.
pub const MODEL_FILE: &str = "model.safetensors";
/// File in the run's folder with facts from the files of the model that the weights come from.
pub const ORIGIN_FILE: &str = "origin.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
const CONFIG_FILE: &str = "config.json";
/// Suffixes of the names of a parameter's moments.
const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";

/// Training state besides tensors: the content of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Optimizer steps done.
    pub step: u64,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Number of updates by the optimizer.
    pub optimizer_time: u64,
    /// Position of the data stream.
    pub position: Position,
    /// Expert loads of the last steps.
    pub window: LoadWindow,
    /// State of mitosis, if experts divide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitosis: Option<MitosisState>,
}

/// The parts of a checkpoint that are not tensors.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The experiment in force.
    pub experiment: &'a Experiment,
    /// The training state.
    pub state: &'a RunState,
    /// Loss on the validation text, if it was measured at this step.
    pub valid: Option<ValidLoss>,
}

/// Writes a checkpoint: weights, optimizer moments named after their parameters, and `facts`.
///
/// # Errors
///
/// I/O errors; earlier checkpoints stay intact.
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
            format!("{name}.{FIRST}"),
            pair.first.clone(),
        ));
        moments.push(NamedTensor::new(
            format!("{name}.{SECOND}"),
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

/// Whether a checkpoint was written by training; otherwise it holds the weights of an imported or quantized model.
pub fn is_of_training(checkpoint: &Checkpoint) -> bool {
    let mut files = checkpoint.manifest().files.iter();
    files.any(|file| file.name == STATE_FILE)
}

/// Position of the data stream when a checkpoint was written.
///
/// # Errors
///
/// The error of a damaged file.
pub fn position(checkpoint: &Checkpoint) -> Result<Position, CheckpointError> {
    Ok(run_state(checkpoint)?.position)
}

/// Reads a checkpoint that [`save`] wrote, for a model with the parameters of `model`.
///
/// # Errors
///
/// A damaged file, or a file of another model.
pub fn restore<B: Backend, M: Module<B>, I: Backend>(
    checkpoint: &Checkpoint,
    model: M,
    device: &I::Device,
) -> Result<(M, AdamWState<I>, RunState), CheckpointError> {
    checkpoint.verify()?;
    let state = run_state(checkpoint)?;
    let weights = checkpoint.tensors(MODEL_FILE)?;
    let model = weights::load(model, &weights)?;
    let file = checkpoint.tensors(OPTIMIZER_FILE)?;
    let mut moments = HashMap::new();
    for (id, name) in weights::param_names(&model) {
        let values = weights.shape(&name).map(|shape| shape.iter().product());
        let read = |moment| moment_of::<I>(&file, &format!("{name}.{moment}"), values, device);
        match (read(FIRST)?, read(SECOND)?) {
            (Some(first), Some(second)) => {
                moments.insert(id, Moments { first, second });
            }
            // a parameter that was never updated
            (None, None) => {}
            (first, _) => {
                let missing = if first.is_some() { SECOND } else { FIRST };
                return Err(CheckpointError::Weights(WeightError::Missing {
                    path: file.path().into(),
                    names: vec![format!("{name}.{missing}")],
                }));
            }
        }
    }
    let optimizer = AdamWState {
        time: state.optimizer_time,
        moments,
        gradient_norm: 0.0,
    };
    Ok((model, optimizer, state))
}

/// Reads the training state and checks that it belongs to the checkpoint's step.
fn run_state(checkpoint: &Checkpoint) -> Result<RunState, CheckpointError> {
    let state: RunState = checkpoint.json(STATE_FILE)?;
    let step = checkpoint.step();
    let contradiction = if state.step != step {
        format!("`step` is {}, expected {step}", state.step)
    } else if state.optimizer_time > step {
        format!(
            "`optimizer_time` is {} after {step} steps",
            state.optimizer_time
        )
    } else {
        return Ok(state);
    };
    Err(checkpoint.damaged(STATE_FILE, Damage::Contradiction(contradiction)))
}

/// A moment of a parameter with `values` elements, flattened; `None` if the optimizer has none for it.
fn moment_of<I: Backend>(
    file: &TensorFile,
    name: &str,
    values: Option<usize>,
    device: &I::Device,
) -> Result<Option<Tensor<I, 1>>, CheckpointError> {
    let Some(found) = file.shape(name) else {
        return Ok(None);
    };
    let (path, name) = (file.path(), name.to_owned());
    let expected = vec![values.unwrap_or_else(|| found.iter().product())];
    if found != expected {
        return Err(CheckpointError::Weights(WeightError::Shape {
            path: path.into(),
            name,
            found,
            expected,
        }));
    }
    let data = file.data(&name)?;
    if !data.dtype.is_float() {
        return Err(CheckpointError::Weights(WeightError::Dtype {
            path: path.into(),
            name,
            found: format!("{:?}", data.dtype),
            expected: "a float".into(),
        }));
    }
    Ok(Some(Tensor::from_data(data.convert::<f32>(), device)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use darkhorse_backends::select::{self, Selected};

    use super::*;
    use crate::training::TrainingConfig;
    use crate::training::mitosis::testing::{Run as Growing, eager, model, schedule};
    use crate::training::mitosis::{MitosisConfig, Mode};

    /// Reads back a moment that a checkpoint stores as `saved`, for a parameter of six values.
    fn read(saved: TensorData) -> Result<Vec<f32>, String> {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(folder.path().join("run"), &0, None).unwrap();
        let saved = [(format!("weight.{FIRST}"), saved)];
        let saved = run.save(1, |writer| writer.tensors(OPTIMIZER_FILE, saved));
        let file = saved.unwrap().tensors(OPTIMIZER_FILE).unwrap();
        let name = format!("weight.{FIRST}");
        moment_of::<Selected>(&file, &name, Some(6), &select::default_device())
            .map(|moment| moment.unwrap().into_data().to_vec().unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_moment_is_a_row_of_floats_as_long_as_its_parameter() {
        let values = [0.5f32, 1.0, 1.5, 2.0, 2.5, 3.0];
        let row = TensorData::from(values);
        assert_eq!(read(row.clone()).unwrap(), values);
        assert_eq!(
            read(row.clone().convert_dtype(DType::BF16)).unwrap(),
            values
        );

        let long = TensorData::from([1.0f32; 12]);
        let table = TensorData::new(values.to_vec(), [2, 3]);
        for (other, shape) in [(long, "[12]"), (table, "[2, 3]")] {
            let error = read(other).unwrap_err();
            assert!(error.contains(shape) && error.contains("[6]"), "{error}");
        }
        let error = read(row.convert_dtype(DType::I32)).unwrap_err();
        assert!(error.contains("I32"), "{error}");
    }

    /// Saves and restores while siblings are held apart, and again while they are released.
    #[test]
    fn a_run_goes_on_exactly_from_the_middle_of_an_inhibition() {
        let stress = MitosisConfig {
            mode: Mode::Stress(eager()),
            ..schedule(&[])
        };
        for (mitosis, saved_at) in [(schedule(&[4]), 7), (schedule(&[4]), 13), (stress, 24)] {
            let mut whole = Growing::new(Some(mitosis.clone()));
            whole.steps(saved_at);
            let folder = tempfile::tempdir().unwrap();
            let experiment = Experiment {
                model: model(),
                tokenizer: Default::default(),
                data: Default::default(),
                training: TrainingConfig::default(),
            };
            let (run, beginning) =
                Run::begin(folder.path(), &experiment, |_| Ok::<_, CheckpointError>(())).unwrap();
            beginning.keep();
            let optimizer = whole.optimizer.state();
            let facts = Facts {
                experiment: &experiment,
                state: &RunState {
                    step: saved_at,
                    optimizer_time: optimizer.time,
                    mitosis: whole.trainee.mitosis().state(),
                    ..RunState::default()
                },
                valid: None,
            };
            save(&run, &whole.trainee.model, &optimizer, facts).unwrap();
            let checkpoint = run.latest().unwrap().unwrap();

            let mut half = Growing::new(Some(mitosis));
            let fresh = half.trainee.model.clone();
            let device = Default::default();
            let (model, moments, state) = restore(&checkpoint, fresh, &device).unwrap();
            half.trainee.model = model;
            half.optimizer.restore(moments);
            half.trainee.mitosis().restore(state.mitosis.unwrap());
            half.step = saved_at;
            half.steps(16);
            whole.steps(16);
            assert_eq!(half.losses, whole.losses[saved_at as usize..]);
            assert_eq!(half.experts(), whole.experts());
            assert_eq!(
                half.trainee.mitosis().state(),
                whole.trainee.mitosis().state()
            );
        }
    }
}
