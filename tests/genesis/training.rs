//! Parameter groups of the optimizer, and the results of six steps with them.

use std::collections::BTreeMap;
use std::fs;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_genesis::model::{CausalLm, Sequences, weights};
use darkhorse_genesis::training::groups::GroupingConfig;
use darkhorse_genesis::training::{AdamW, TrainingConfig};
use serde_json::Value;

use crate::fixture::{folder, read, values};
use crate::model::{Differentiated, by_their_names, loss};

struct Parameters(Vec<(burn::module::ParamId, Vec<usize>, Vec<f32>)>);

impl<B: Backend> ModuleVisitor<B> for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        self.0
            .push((param.id, value.dims().to_vec(), values(value)));
    }
}

/// Trains six steps on one batch; returns the losses before each step and the final parameters.
fn six_steps(groups: GroupingConfig, rate: f64) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let fixture = read();
    let mut model: CausalLm<Differentiated> = fixture.model();
    let config = TrainingConfig {
        clip: 1e9,
        ..Default::default()
    };
    let mut optimizer =
        AdamW::<Differentiated>::new(&config).with_groups(groups.groups(&model, fixture.config()));
    let mut losses = Vec::new();
    for _ in 0..6 {
        let logits = model.forward(&Sequences::plain(fixture.ids("input_ids")));
        let loss = loss(&fixture, logits);
        losses.extend(values(loss.clone()));
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(rate, model, grads);
    }
    let names = weights::param_names(&model);
    let mut found = Parameters(Vec::new());
    model.visit(&mut found);
    let found = found.0.into_iter();
    let found = found.map(|(id, shape, values)| (names[&id].clone(), shape, values));
    (losses, by_their_names(&fixture, found))
}

#[test]
fn six_steps_with_the_plain_groups() {
    let fixture = read();
    let (losses, parameters) = six_steps(GroupingConfig::Genesis, 3e-4);
    fixture.compare("trainrun_adamw/losses", &losses);
    for name in ["blocks.0.attn.A_log", "ln_f.omega"] {
        fixture.compare(&format!("trainrun_adamw/{name}"), &parameters[name]);
    }
}

#[test]
fn six_steps_with_the_groups_of_mup() {
    let (losses, _) = six_steps(GroupingConfig::Mup, 5e-4);
    read().compare("trainrun_mup/losses", &losses);
}

#[test]
fn groups_are_those_of_the_package() {
    let fixture = read();
    let model: CausalLm<Differentiated> = fixture.model();
    let names = weights::param_names(&model);
    let text = fs::read_to_string(folder().join("optimizer_groups.json")).expect("it is there");
    let expected: Value = serde_json::from_str(&text).expect("it is JSON");
    for (name, config, base) in [
        ("adamw", GroupingConfig::Genesis, 3e-4),
        ("mup", GroupingConfig::Mup, 5e-4),
    ] {
        let found = config.groups(&model, fixture.config());
        let named = found.iter().map(|(id, group)| {
            let numbers = vec![group.rate as f32, group.decay as f32];
            (names[id].clone(), vec![2], numbers)
        });
        let found = by_their_names(&fixture, named);
        let mut checked = 0;
        for group in expected[name].as_array().expect("groups are a list") {
            let rate = (group["lr"].as_f64().expect("a rate") / base) as f32;
            let decay = (group["weight_decay"].as_f64().expect("a decay") / 0.1) as f32;
            for param in group["params"].as_array().expect("parameters are a list") {
                let param = param.as_str().expect("a name");
                let [found_rate, found_decay] = found[param][..] else {
                    panic!("{param} has two numbers");
                };
                assert!((found_rate - rate).abs() < 1e-6, "{name}: rate of {param}");
                assert_eq!(found_decay, decay, "{name}: decay of {param}");
                checked += 1;
            }
        }
        assert_eq!(checked, found.len());
    }
}
