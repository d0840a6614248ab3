//! Training steps of Genesis-152M, 4 x 256 tokens each: `cargo bench --bench hybrid -- train`.
//!
//! `--model FILE.safetensors` uses the weights of a published checkpoint instead of random ones, `--steps N` sets the
//! number of steps, `--json` prints durations and losses for `benches/peers/hybrid.py`. The number of threads is
//! rayon's, `RAYON_NUM_THREADS`. Prefill and decoding are measured by the program's `bench`.

use std::path::Path;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;
use darkhorse_backends::{Ops, awake};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::interop::ForeignModel;
use darkhorse_genesis::model::{CausalLm, Sequences, weights};
use darkhorse_genesis::training::{AdamW, TrainingConfig};

type B = Autodiff<Selected>;

const ROWS: usize = 4;
const SEQ: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1)
    };
    darkhorse_backends::memory::keep_freed();
    let steps = value("--steps").map_or(3, |it| it.parse().expect("a number of steps"));
    let model = match value("--model") {
        Some(path) => stored(Path::new(path)),
        None => {
            let preset = Experiment::preset("genesis-152m").expect("there is such a preset");
            CausalLm::init(&preset.model, 0, &Default::default())
        }
    };
    let is_json = arguments.iter().any(|it| it == "--json");
    let (durations, losses) = train(model, steps, is_json);
    if is_json {
        println!("{{\"durations_s\": {durations:?}, \"losses\": {losses:?}}}");
    }
}

fn stored(path: &Path) -> CausalLm<B> {
    let found = ForeignModel::open(path).expect("a checkpoint");
    let model = CausalLm::init(&found.config.model, 0, &Default::default());
    weights::load(model, found.weights.as_ref()).expect("the weights of the model")
}

fn train(mut model: CausalLm<B>, steps: usize, is_quiet: bool) -> (Vec<f64>, Vec<f32>) {
    let [vocab, _] = model.embed_tokens.val().dims();
    let mut optimizer = AdamW::<B>::new(&TrainingConfig::default());
    let ids = |i: usize| (2 + (7919 * i + 13) % (vocab - 2)) as i64;
    let rows: Vec<i64> = (0..ROWS * (SEQ + 1)).map(ids).collect();
    let device = Default::default();
    let rows = Tensor::<B, 2, Int>::from_data(TensorData::new(rows, [ROWS, SEQ + 1]), &device);
    let (mut durations, mut losses) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let begin = Instant::now();
        let (updated, loss, [forward, backward]) = awake(|| {
            let logits = model.forward(&Sequences::plain(rows.clone().narrow(1, 0, SEQ)));
            let targets = rows.clone().narrow(1, 1, SEQ).reshape([ROWS * SEQ]);
            let loss = B::cross_entropy(logits.reshape([ROWS * SEQ, vocab]), targets).mean();
            let forward = begin.elapsed().as_secs_f64();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            let backward = begin.elapsed().as_secs_f64();
            let updated = optimizer.step(1e-4, model, grads);
            (updated, loss.into_scalar(), [forward, backward])
        });
        let whole = begin.elapsed().as_secs_f64();
        model = updated;
        losses.push(loss);
        durations.push(whole);
        if !is_quiet {
            println!(
                "step {step}: {:.0} tokens/s (forward {forward:.2} s, backward {:.2} s, update {:.2} s), loss {:.5}",
                (ROWS * SEQ) as f64 / whole,
                backward - forward,
                whole - backward,
                losses[step]
            );
        }
    }
    (durations, losses)
}
