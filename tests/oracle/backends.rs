//! Compares the selected backend with the definitions: forward pass, gradients and twenty training steps.
//!
//! Runs on any backend: `cargo test -p darkhorse-oracle --no-default-features --features vulkan`. The oracle is the
//! NdArray backend, for which this project has no kernels.

#![cfg(any(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "tch"
))]

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn_ndarray::NdArray;
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::weights::param_names;
use darkhorse_genesis::training::batch::{self, MicroBatch};
use darkhorse_genesis::training::{AdamW, Precision, Trainee, TrainingBackend, TrainingConfig};
use support::{batches, byte_config};

/// Results of a backend for the same model and text.
struct Outcome {
    logits: Vec<f32>,
    /// Gradients by parameter name.
    gradients: Vec<(String, Vec<f32>)>,
    losses: Vec<f64>,
}

struct Gather<'a> {
    grads: &'a GradientsParams,
    names: HashMap<ParamId, String>,
    gathered: Vec<(String, Vec<f32>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            let values = grad.into_data().iter::<f32>().collect();
            self.gathered.push((self.names[&param.id].clone(), values));
        }
    }
}

fn outcome<B: TrainingBackend>() -> Outcome {
    let device = B::Device::default();
    let config = TrainingConfig {
        steps: 20,
        seq_aux_alpha: 1e-2,
        ..Default::default()
    };
    let model_config = byte_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&model_config, 13, &device);
    let rows = batches(2, 24, 1).remove(0);
    let logits = model.valid().forward(&batch::sequences(&rows, &device));

    let mut trainee = Trainee::<B>::new(model, config.clone(), model_config.domains);
    let mut optimizer = AdamW::<B>::new(&config);
    let (mut gradients, mut losses) = (Vec::new(), Vec::new());
    for step in 1..=config.steps {
        // the same rows, so that a backend with expensive shapes compiles them once
        for batch in MicroBatch::of_step(step, vec![rows.clone()], 1) {
            let output = trainee.step(batch);
            if step == 1 {
                let mut gather = Gather {
                    grads: &output.grads,
                    names: param_names(&trainee),
                    gathered: Vec::new(),
                };
                trainee.visit(&mut gather);
                gradients = gather.gathered;
            }
            losses.push(output.item.get().losses.next_token);
            trainee = trainee.optimize(&mut optimizer, 1e-3, output.grads);
        }
    }
    Outcome {
        logits: logits.into_data().iter::<f32>().collect(),
        gradients,
        losses,
    }
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(l, r)| (l - r).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn the_selected_backend_equals_the_oracle() {
    let oracle = outcome::<Autodiff<NdArray>>();
    let selected = outcome::<Autodiff<Selected>>();

    let logits = largest_difference(&oracle.logits, &selected.logits);
    assert!(logits < 1e-3, "logits differ by {logits}");

    let all = oracle.gradients.iter().flat_map(|(_, values)| values);
    let scale = all.fold(0.0f32, |max, value| max.max(value.abs()));
    let wrong = oracle.gradients.iter().zip(&selected.gradients);
    let wrong: Vec<String> = wrong
        .filter_map(|((name, oracle), (_, selected))| {
            let difference = largest_difference(oracle, selected) / scale;
            (difference >= 1e-3).then(|| format!("{name} by {difference}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "gradients differ, in parts of the largest: {}",
        wrong.join(", ")
    );

    for (step, (left, right)) in oracle.losses.iter().zip(&selected.losses).enumerate() {
        let relative = (left - right).abs() / left;
        assert!(relative < 1e-3, "step {}: {left} and {right}", step + 1);
    }
    let (first, last) = (oracle.losses[0], oracle.losses[19]);
    assert!(last < first - 0.1, "the model learns: {first} to {last}");
}

#[test]
fn a_backend_without_bf16_is_named_in_one_line() {
    let refused = Precision::Bf16.check::<NdArray>(&Default::default());
    let line = refused.expect_err("NdArray has no bf16").to_string();
    assert_eq!(
        line,
        "`training.precision` is bf16, which backend `ndarray` has no arithmetic for: train in f32, by `--precision f32`"
    );
    assert!(Precision::F32.check::<NdArray>(&Default::default()).is_ok());
}
