//! Micro-batches add up to their batch: gradients, counts and biases.

use crate::support::{batches, byte_config};
use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::data::PackedBatch;
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::training::batch::MicroBatch;
use darkhorse_genesis::training::{AdamW, StepLosses, Trainee, TrainingConfig};

type B = Autodiff<Selected>;

fn trainee(config: &TrainingConfig) -> Trainee<B> {
    let model = byte_config(DomainMode::Soft);
    let domains = model.domains.clone();
    let model = CausalLm::<B>::init(&model, 7, &Default::default());
    Trainee::new(model, config.clone(), domains)
}

/// Micro-batches with very unequal masks: half of the targets of the first rows do not count.
fn micro_batches() -> Vec<PackedBatch> {
    let mut parts = batches(2, 48, 3);
    for (index, counted) in parts[0].counted.iter_mut().enumerate() {
        *counted &= index % 2 == 0;
    }
    parts
}

fn joined(parts: &[PackedBatch]) -> PackedBatch {
    let mut whole = parts[0].clone();
    for part in &parts[1..] {
        whole.rows += part.rows;
        whole.ids.extend(&part.ids);
        whole.segments.extend(&part.segments);
        whole.positions.extend(&part.positions);
        whole.tags.extend(&part.tags);
        whole.domains.extend(&part.domains);
        whole.counted.extend(&part.counted);
        whole.bytes.extend(&part.bytes);
        whole.documents.extend(part.documents.iter().cloned());
    }
    whole
}

fn gradients(trainee: &Trainee<B>, parts: Vec<PackedBatch>) -> GradientsParams {
    let mut accumulator = GradientsAccumulator::new();
    for batch in MicroBatch::of_step(1, parts, 1) {
        accumulator.accumulate(trainee, trainee.step(batch).grads);
    }
    accumulator.grads()
}

struct Flatten<'a> {
    grads: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor<B> for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<Selected, D>(param.id) {
            self.values.extend(grad.into_data().iter::<f32>());
        }
    }
}

fn flat(trainee: &Trainee<B>, grads: &GradientsParams) -> Vec<f32> {
    let mut flatten = Flatten {
        grads,
        values: Vec::new(),
    };
    trainee.visit(&mut flatten);
    flatten.values
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values
        .map(|value| f64::from(value).powi(2))
        .sum::<f64>()
        .sqrt()
}

#[test]
fn gradients_of_micro_batches_equal_those_of_one_large_batch() {
    let config = TrainingConfig {
        seq_aux_alpha: 0.1,
        ..Default::default()
    };
    let trainee = trainee(&config);
    let parts = micro_batches();
    let whole = flat(&trainee, &gradients(&trainee, vec![joined(&parts)]));
    let summed = flat(&trainee, &gradients(&trainee, parts));

    let difference = norm(whole.iter().zip(&summed).map(|(left, right)| left - right));
    let relative = difference / norm(whole.iter().copied());
    assert!(relative < 1e-5, "{relative}");
}

/// The losses of a step, and its gradients.
fn step(trainee: &Trainee<B>, parts: Vec<PackedBatch>) -> (StepLosses, Vec<f32>) {
    let mut losses = StepLosses::default();
    let mut accumulator = GradientsAccumulator::new();
    for batch in MicroBatch::of_step(1, parts, 1) {
        let output = trainee.step(batch);
        accumulator.accumulate(trainee, output.grads);
        losses.add(output.item.get().losses);
    }
    (losses, flat(trainee, &accumulator.grads()))
}

#[test]
fn micro_batches_without_a_target_change_neither_the_loss_nor_the_gradients_of_a_step() {
    let config = TrainingConfig {
        seq_aux_alpha: 0.0,
        ..Default::default()
    };
    let trainee = trainee(&config);
    let parts = micro_batches();
    for uncounted in [0, 1, 2] {
        let mut all = parts.clone();
        all[uncounted].counted.fill(false);
        let mut counted = parts.clone();
        counted.remove(uncounted);
        let (losses, gradients) = step(&trainee, all);
        let (expected, of_counted) = step(&trainee, counted);
        let close = |left: f64, right: f64| (left / right - 1.0).abs() < 1e-6;
        assert!(losses.is_finite());
        assert!(
            close(losses.next_token, expected.next_token),
            "{losses:?} {expected:?}"
        );
        let mtp = losses.mtp.zip(expected.mtp);
        assert!(
            mtp.is_some_and(|(left, right)| close(left, right)),
            "{losses:?}"
        );
        let pairs = gradients.iter().zip(&of_counted);
        let difference = norm(pairs.map(|(left, right)| left - right));
        assert!(difference / norm(of_counted.into_iter()) < 1e-5);
    }
}

fn biases(trainee: Trainee<B>) -> Vec<Vec<f32>> {
    let mut biases = Vec::new();
    trainee.model.map_routers(|_, router| {
        let bias = router.e_score_correction_bias.val();
        biases.push(bias.into_data().iter::<f32>().collect());
        router
    });
    biases
}

#[test]
fn the_bias_moves_once_per_optimizer_step_and_by_the_same_counts() {
    let config = TrainingConfig::default();
    let parts = micro_batches();
    let after = |parts: Vec<PackedBatch>| {
        let trainee = trainee(&config);
        let ledger = trainee.ledger();
        let grads = gradients(&trainee, parts);
        let trainee = trainee.optimize(&mut AdamW::<B>::new(&config), 1e-3, grads);
        (ledger.report(), biases(trainee))
    };
    let (whole_report, whole_biases) = after(vec![joined(&parts)]);
    let (parts_report, parts_biases) = after(parts);

    assert_eq!(whole_report, parts_report);
    assert_eq!(whole_biases, parts_biases);
    // routers: two decoder layers and the MTP module
    assert_eq!(whole_biases.len(), 3);
    for bias in whole_biases {
        let largest = bias
            .iter()
            .fold(0.0f32, |largest, bias| largest.max(bias.abs()));
        assert!((0.5e-3..=2e-3).contains(&largest), "{largest}");
        assert!(bias.iter().sum::<f32>().abs() < 1e-6);
    }
}

#[test]
fn learning_rate_clip_and_optimizer_move_once_per_optimizer_step() {
    let config = TrainingConfig::default();
    let trainee = trainee(&config);
    let mut optimizer = AdamW::<B>::new(&config);
    let grads = gradients(&trainee, micro_batches());
    let expected = norm(flat(&trainee, &grads).into_iter());

    trainee.optimize(&mut optimizer, 1e-3, grads);

    let state = optimizer.state();
    assert_eq!(state.time, 1);
    assert!((state.gradient_norm / expected - 1.0).abs() < 1e-4);
}
