//! Why hybrids exist: `cargo run --release --example needles` (some minutes on two cores; writes needles.svg).
//!
//! Each key is planted with a value, and then all keys are queried. Layers of linear attention have a state of fixed
//! size and confuse what does not fit; a layer of forgetting attention among them looks the values up.

mod picture;
mod task;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::optim::{GradientsParams, Optimizer};
use darkhorse_backends::{Ops, memory, select::Selected};
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::training::{AdamW, TrainingConfig};
use rand::{SeedableRng, rngs::SmallRng};

type B = Autodiff<Selected>;

const PLANTED: [usize; 5] = [4, 8, 16, 32, 64];

fn config(layers: [MixerKind; 2]) -> ModelConfig {
    let model = serde_json::from_str(include_str!("model.json"));
    ModelConfig {
        layer_types: layers.to_vec(),
        ..model.expect("it is a model")
    }
}

/// Fraction of right answers for every number of planted keys.
fn train(name: &str, layers: [MixerKind; 2], steps: u64) -> Vec<f64> {
    let mut rng = SmallRng::seed_from_u64(0);
    let mut model = CausalLm::<B>::init(&config(layers), 0, &Default::default());
    let mut optimizer = AdamW::<B>::new(&TrainingConfig::default());
    for step in 0..steps {
        let pairs = PLANTED[step as usize % PLANTED.len()];
        let (logits, answers) = task::ask(&model, pairs, &mut rng);
        let loss = B::cross_entropy(logits, answers).mean();
        if step % 100 == 0 {
            let loss = loss.clone().into_scalar();
            println!("{name}, step {step}: loss {loss:.3}");
        }
        let warm = (step + 1) as f64 / 50.0;
        let rate = 4e-3 * (1.0 - step as f64 / steps as f64).min(warm);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(rate, model, grads);
    }
    let trained = model.valid();
    let shares = PLANTED.map(|pairs| {
        let (logits, answers) = task::ask(&trained, pairs, &mut rng);
        let found = logits.argmax(1).squeeze_dim::<1>(1).equal(answers);
        found.int().float().mean().into_scalar().into()
    });
    for (pairs, share) in PLANTED.iter().zip(&shares) {
        println!("{name}: of {pairs} keys {:.1} %", 100.0 * share);
    }
    shares.to_vec()
}

fn main() -> std::io::Result<()> {
    memory::keep_freed();
    let steps = std::env::args().nth(1);
    let steps = steps.map_or(1200, |it| it.parse().expect("a number of steps"));
    let curves = [
        ("one layer of two forgets", "#0a7", MixerKind::Fox),
        ("both layers are linear", "#c40", MixerKind::Gla),
    ];
    let curves = curves.map(|(name, color, kind)| picture::Curve {
        name,
        color,
        shares: train(name, [MixerKind::Gla, kind], steps),
    });
    std::fs::write("needles.svg", picture::draw(&PLANTED, &curves))
}
