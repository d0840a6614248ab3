//! Steps in bf16 with f32 weights give the same training, within the precision of bf16.

use crate::support::{batches, byte_config, recurrent_config};
use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use burn_train::TrainStep;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::weights::collect;
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::training::batch::MicroBatch;
use darkhorse_genesis::training::{AdamW, Precision, Trainee, TrainingConfig};

type B = Autodiff<Selected>;

/// A model with weights so small that rounding errors are not amplified.
fn recurrent() -> ModelConfig {
    ModelConfig {
        initializer_range: 0.05,
        ..recurrent_config(DomainMode::Off)
    }
}

/// A model in training.
struct Training {
    trainee: Trainee<B>,
    optimizer: AdamW<B>,
    step: u64,
}

impl Training {
    fn new(model: &ModelConfig, precision: Precision) -> Self {
        let config = TrainingConfig {
            precision,
            ..Default::default()
        };
        let domains = model.domains.clone();
        let model = CausalLm::<B>::init(model, 7, &default_device());
        Self {
            optimizer: AdamW::new(&config),
            trainee: Trainee::new(model, config, domains),
            step: 0,
        }
    }

    /// Trains one step on rows and returns its loss.
    fn advance(&mut self, rows: &darkhorse_genesis::data::PackedBatch, lr: f64) -> f64 {
        self.step += 1;
        let depths = self.trainee.model.mtp.len();
        let batch = MicroBatch::of_step(self.step, vec![rows.clone()], depths);
        let batch = batch.into_iter().next().expect("there is one");
        let output = self.trainee.step(batch);
        let trainee = self.trainee.clone();
        self.trainee = trainee.optimize(&mut self.optimizer, lr, output.grads);
        output.item.get().losses.next_token
    }
}

/// Trained values of a model, in f32 and rounded to bf16, and their element types.
#[derive(Default)]
struct Numbers {
    exact: Vec<f32>,
    rounded: Vec<f32>,
    types: Vec<(DType, DType)>,
}

impl ModuleVisitor<B> for Numbers {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !param.is_require_grad() {
            return;
        }
        let exact = param.val().inner();
        let rounded = exact.clone().cast(DType::BF16);
        self.types.push((exact.dtype(), rounded.dtype()));
        self.exact.extend(exact.into_data().iter::<f32>());
        self.rounded.extend(rounded.into_data().iter::<f32>());
    }
}

fn numbers(training: &Training) -> Numbers {
    let mut numbers = Numbers::default();
    training.trainee.model.visit(&mut numbers);
    numbers
}

fn share_moved(before: &[f32], after: &[f32]) -> f64 {
    let pairs = before.iter().zip(after);
    pairs.filter(|(before, after)| before != after).count() as f64 / before.len() as f64
}

#[test]
fn the_loss_in_bf16_follows_the_loss_in_f32() {
    for (name, model) in [
        ("experts", byte_config(DomainMode::Soft)),
        ("recurrent", recurrent()),
    ] {
        let mut rows = batches(4, 48, 30);
        for id in rows.iter_mut().flat_map(|rows| &mut rows.ids) {
            *id %= model.vocab_size as i32;
        }
        let curve = |precision| -> Vec<f64> {
            let mut training = Training::new(&model, precision);
            rows.iter()
                .map(|rows| training.advance(rows, 3e-3))
                .collect()
        };
        let (exact, rounded) = (curve(Precision::F32), curve(Precision::Bf16));
        let pairs = || exact.iter().zip(&rounded);
        let worst = pairs().map(|(exact, rounded)| (rounded / exact - 1.0).abs());
        let worst = worst.fold(0.0, f64::max);
        println!(
            "{name}: {:.4} to {:.4}, {worst:.2e} apart",
            exact[0], exact[29]
        );
        assert!(exact[29] < 0.8 * exact[0], "{name}: {exact:?}");
        assert!(worst < 0.02, "{name}: {exact:?} {rounded:?}");
        assert!(pairs().all(|(exact, rounded)| exact != rounded), "{name}");
    }
}

#[test]
fn updates_too_small_for_bf16_add_up() {
    let model = byte_config(DomainMode::Soft);
    let rows = &batches(4, 48, 1)[0];
    let mut training = Training::new(&model, Precision::Bf16);
    let before = numbers(&training);
    // weights of about 0.05 have a spacing of 2e-4 in bf16, an update is 3e-6: one step changes only tiny weights
    training.advance(rows, 3e-6);
    let once = numbers(&training);
    for _ in 1..40 {
        training.advance(rows, 3e-6);
    }
    let after = numbers(&training);

    let f32_moved = share_moved(&before.exact, &once.exact);
    let [first, all] = [&once, &after].map(|it| share_moved(&before.rounded, &it.rounded));
    println!("moved: {f32_moved:.3} at once, in bf16 {first:.3} at once and {all:.3} in the end");
    assert!(f32_moved > 0.7, "{f32_moved}");
    assert!(first < 0.1, "{first}");
    assert!(all > 4.0 * first && all > 0.3, "{all} after {first}");
    assert!(
        after
            .types
            .iter()
            .all(|it| *it == (DType::F32, DType::BF16))
    );
    for moments in training.optimizer.state().moments.values() {
        assert_eq!(moments.first.dtype(), DType::F32);
        assert_eq!(moments.second.dtype(), DType::F32);
    }
}

#[test]
fn a_step_in_bf16_leaves_routers_rates_and_the_embedding_as_they_are() {
    let config = recurrent_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 7, &default_device());
    let within = Precision::Bf16.rounded(&model).unwrap();
    let stays = |name: &str| {
        let last = name.rsplit('.').next();
        name == "embed_tokens"
            || name.contains("router.")
            || matches!(last, Some("a_log" | "dt_bias"))
    };
    let mut kept = 0;
    for (within, before) in collect(&within).into_iter().zip(collect(&model)) {
        assert_eq!(within.name, before.name);
        let name = before.name.clone();
        if stays(&name) || before.dtype != DType::F32 || name.starts_with("domain_prior") {
            kept += 1;
            let [within, before] = [within, before].map(|it| it.read().expect("it is in memory"));
            assert_eq!(within, before, "{name}");
        } else {
            assert_eq!(within.dtype, DType::BF16, "{name}");
        }
    }
    // embedding, prior, two rates of the recurrent layer, gate and bias of three routers
    println!("{kept} tensors stay");
    assert!(kept >= 10, "{kept}");
}

struct Flatten<'a> {
    grads: &'a GradientsParams,
    values: Vec<(DType, Vec<f32>)>,
}

impl ModuleVisitor<B> for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let grad = self.grads.get::<Selected, D>(param.id);
        self.values.extend(grad.map(|grad| {
            let dtype = grad.dtype();
            (dtype, grad.into_data().iter::<f32>().collect())
        }));
    }
}

#[test]
fn gradients_in_bf16_are_those_in_f32_to_its_rounding() {
    for (name, mut model) in [
        ("experts", byte_config(DomainMode::Soft)),
        ("recurrent", recurrent()),
    ] {
        // dense, since rounding may change a close choice of experts
        model.first_k_dense_replace = model.num_hidden_layers;
        model.num_nextn_predict_layers = 0;
        let mut rows = batches(4, 48, 1).remove(0);
        for id in &mut rows.ids {
            *id %= model.vocab_size as i32;
        }
        let of = |precision| {
            let training = Training::new(&model, precision);
            let batch = MicroBatch::of_step(1, vec![rows.clone()], 0);
            let batch = batch.into_iter().next().expect("there is one");
            let grads = training.trainee.step(batch).grads;
            let mut flatten = Flatten {
                grads: &grads,
                values: Vec::new(),
            };
            training.trainee.visit(&mut flatten);
            flatten.values
        };
        let (exact, rounded) = (of(Precision::F32), of(Precision::Bf16));
        assert_eq!(exact.len(), rounded.len());
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|it| f64::from(it).powi(2)).sum::<f64>().sqrt()
        };
        let mut worst = 0.0_f64;
        for ((_, exact), (dtype, rounded)) in exact.iter().zip(&rounded) {
            assert_eq!(*dtype, DType::F32);
            let apart = norm(&mut exact.iter().zip(rounded).map(|(l, r)| l - r));
            worst = worst.max(apart / norm(&mut exact.iter().copied()));
        }
        println!(
            "{name}: {} gradients, {worst:.4} apart at most",
            exact.len()
        );
        assert!(worst > 1e-4 && worst < 0.05, "{name}: {worst}");
    }
}
