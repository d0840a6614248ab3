//! Genesis-152M with random weights: decode, prefill of 2,048 tokens, and a training step of 4 x 256.
//!
//! `cargo bench --bench hybrid -- [decode] [prefill] [train]`; threads are rayon's, `RAYON_NUM_THREADS`.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::model::{CausalLm, Sequences};
use darkhorse_genesis::training::{AdamW, TrainingConfig};

fn ids(count: usize) -> Vec<i64> {
    (0..count as i64)
        .map(|at| (at * 7919 + 13) % 50_000)
        .collect()
}

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let wants = |name: &str| asked.is_empty() || asked.iter().any(|it| it == name);
    let experiment = Experiment::preset("genesis-152m").expect("there is such a preset");
    let config = experiment.model;
    if wants("decode") || wants("prefill") {
        let model = CausalLm::<Selected>::init(&config, 0, &Default::default());
        let limits = Limits {
            context: 4096,
            ..Limits::of(&config)
        };
        let sampler = Sampler::new(SamplingConfig::greedy()).expect("the settings are valid");
        let prompt: Vec<u32> = ids(2048).into_iter().map(|id| id as u32).collect();
        if wants("decode") {
            let mut generation = Generation::new(&model, limits, None);
            generation.read(&prompt[..64]).expect("it is short");
            for _ in 0..4 {
                generation.next_token(&sampler);
            }
            let begin = Instant::now();
            for _ in 0..48 {
                generation.next_token(&sampler);
            }
            println!(
                "decode: {:.1} tokens/s",
                48.0 / begin.elapsed().as_secs_f64()
            );
        }
        if wants("prefill") {
            for _ in 0..2 {
                let mut generation = Generation::new(&model, limits, None);
                let begin = Instant::now();
                generation.read(&prompt).expect("it fits");
                let rate = 2048.0 / begin.elapsed().as_secs_f64();
                println!("prefill of 2048: {rate:.0} tokens/s");
            }
        }
    }
    if wants("train") {
        type B = Autodiff<Selected>;
        let mut model = CausalLm::<B>::init(&config, 0, &Default::default());
        let mut optimizer = AdamW::<B>::new(&TrainingConfig::default());
        for step in 0..3 {
            let begin = Instant::now();
            let device = Default::default();
            let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids(1024), [4, 256]), &device);
            let logits = model.forward(&Sequences::plain(ids.clone()));
            let [_, _, vocab] = logits.dims();
            let loss = B::cross_entropy(logits.reshape([1024, vocab]), ids.reshape([1024])).mean();
            let forward = begin.elapsed();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            let backward = begin.elapsed();
            model = optimizer.step(1e-4, model, grads);
            println!(
                "training step {step} of 4 x 256: {:.0} tokens/s (forward {:.2} s, backward {:.2} s, update {:.2} s)",
                1024.0 / begin.elapsed().as_secs_f64(),
                forward.as_secs_f64(),
                (backward - forward).as_secs_f64(),
                (begin.elapsed() - backward).as_secs_f64()
            );
        }
    }
}
