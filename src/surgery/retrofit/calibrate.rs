//! Trains the routers to use null experts, with the original model as teacher.

use burn::module::Module;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::awake_gradients;

use super::share::rise;
use crate::data::{DataError, PackedBatch};
use crate::model::matrix::Matrix;
use crate::model::routing::{Router, Routing};
use crate::model::{CausalLm, ModelConfig};
use crate::training::batch::{self, MicroBatch};
use crate::training::loss::{self, Weights};
use crate::training::{AdamW, TrainingBackend, TrainingConfig};

/// Share of the choices that go to null experts before the first step.
const FIRST_SHARE: f64 = 0.01;

/// Fraction of the steps after which the null experts have their full share.
const RISING: f64 = 0.6;

/// Fraction of the steps over which the learning rate falls to zero.
const FALLING: f64 = 0.3;

/// Fraction of the way to a batch's own solution that the bias moves per step.
const HASTE: f32 = 0.3;

/// Settings of the routers' training.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Learning rate before it falls.
    pub learning_rate: f64,
    /// Weight of the divergence from the teacher, added to the loss on the text.
    pub teacher_weight: f64,
}

/// Progress of the routers' training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Optimizer step, from 1.
    pub step: u64,
    /// Loss on the step's text, in nats per token.
    pub loss: f64,
    /// KL divergence from the teacher, in nats per token.
    pub divergence: f64,
    /// Mean number of experts that a token of the step visited.
    pub visited: f64,
}

impl Lesson {
    /// Share of the choices that null experts get in a step, where `last` is the final share.
    fn share(&self, step: u64, last: f64) -> f64 {
        let done = step as f64 / (self.steps as f64 * RISING).max(1.0);
        let first = FIRST_SHARE.min(last);
        first + (last - first) * done.min(1.0)
    }

    fn rate(&self, step: u64) -> f64 {
        let left = (self.steps - step + 1) as f64 / (self.steps as f64 * FALLING).max(1.0);
        self.learning_rate * left.min(1.0)
    }
}

/// Trains the routers of `student`, a model of `config` with the [widened](super::Widened) weights of `teacher`. The
/// loss is that on the text, MTP modules included, plus the weighted divergence from the teacher. `next` returns the
/// text of a step; `told` receives the progress.
///
/// # Errors
///
/// The text cannot be read.
pub fn calibrate<B: TrainingBackend>(
    teacher: &CausalLm<B::InnerBackend>,
    student: CausalLm<B>,
    config: &ModelConfig,
    (lesson, training): (&Lesson, &TrainingConfig),
    mut next: impl FnMut() -> Result<PackedBatch, DataError>,
    mut told: impl FnMut(Progress),
) -> Result<CausalLm<B>, DataError> {
    let moe = config.moe.as_ref();
    let (k, k_target) = moe.map_or((1, 1.0), |moe| {
        (moe.num_experts_per_tok, moe.visited_experts())
    });
    let last_share = 1.0 - k_target / k as f64;
    let mut optimizer = AdamW::<B>::new(&TrainingConfig {
        weight_decay: 0.0,
        ..training.clone()
    });
    let mut student = with_routers_open(student.no_grad());
    let mut read = |step| -> Result<MicroBatch, DataError> {
        let depths = config.num_nextn_predict_layers;
        Ok(MicroBatch::of_step(step, vec![next()?], depths).remove(0))
    };
    let first = read(1)?;
    student = awake_gradients(move || {
        let found = loss::loss(&student, &first, weights_at(training, 1));
        settle(
            student,
            &found.routings,
            k,
            lesson.share(0, last_share),
            1.0,
        )
    });
    for step in 1..=lesson.steps {
        let batch = read(step)?;
        let weights = weights_at(training, step);
        let (optimizer, share) = (&mut optimizer, lesson.share(step, last_share));
        let rate = lesson.rate(step);
        let (taught, progress) = awake_gradients(move || {
            let losses = loss::loss(&student, &batch, weights);
            let divergence = divergence(teacher, &student, &losses.states, &batch);
            let progress = Progress {
                step,
                loss: number(losses.next_token.clone()),
                divergence: number(divergence.clone()),
                visited: visited(&losses.routings),
            };
            let total = losses.total.clone() + divergence.mul_scalar(lesson.teacher_weight);
            let gradients = GradientsParams::from_grads(total.backward(), &student);
            let student = optimizer.step(rate, student, gradients);
            let student = settle(student, &losses.routings, k, share, HASTE);
            (student, progress)
        });
        student = taught;
        told(progress);
    }
    Ok(student)
}

/// The model with gradients for its routers only.
fn with_routers_open<B: TrainingBackend>(model: CausalLm<B>) -> CausalLm<B> {
    model.map_routers(|_, mut router: Router<B>| {
        if let Matrix::Dense(weight) = router.gate.weight {
            router.gate.weight = Matrix::Dense(weight.set_require_grad(true));
        }
        router
    })
}

fn weights_at(training: &TrainingConfig, step: u64) -> Weights {
    Weights {
        mtp: training.mtp_weight_at(step),
        balance: 0.0,
    }
}

fn number<B: AutodiffBackend>(scalar: Tensor<B, 1>) -> f64 {
    scalar.into_data().iter::<f64>().sum()
}

/// `KL(teacher || student)` of the next token, in nats per counted token, `[1]`.
///
/// # Shapes
///
/// - states: hidden states of the student, `[rows, seq, hidden_size]`
pub(in crate::surgery) fn divergence<B: TrainingBackend>(
    teacher: &CausalLm<B::InnerBackend>,
    student: &CausalLm<B>,
    states: &Tensor<B, 3>,
    batch: &MicroBatch,
) -> Tensor<B, 1> {
    let [rows, seq, _] = states.dims();
    let device = states.device();
    let input = batch::sequences::<B::InnerBackend>(&batch.rows, &device);
    let taught = teacher.logits(teacher.hidden(&input).states);
    let taught = Tensor::<B, 3>::from_inner(taught.cast(DType::F32));
    let own = student.logits(states.clone()).cast(DType::F32);
    let apart = log_softmax(taught.clone(), 2) - log_softmax(own, 2);
    let of_tokens = (softmax(taught, 2) * apart)
        .sum_dim(2)
        .reshape([rows * seq]);
    let counted = batch::targets(&batch.rows, 0).counted;
    let counted = batch::indicator::<B, 1>(&counted, [rows * seq], &device);
    let total = batch.totals.targets[0].max(1);
    (of_tokens * counted).sum().div_scalar(total as f64)
}

/// Mean number of experts that a token visits, over the layers of the main model.
fn visited<B: TrainingBackend>(routings: &[(usize, Routing<B>)]) -> f64 {
    let (mut visits, mut tokens) = (0.0, 0.0);
    for (_, routing) in routings.iter().filter(|(depth, _)| *depth == 0) {
        let [read, _] = routing.indices.dims();
        let chosen = routing.indices.clone().into_data();
        let is_expert = |slot: &i64| (*slot as usize) < routing.experts;
        visits += chosen.iter::<i64>().filter(is_expert).count() as f64;
        tokens += read as f64;
    }
    visits / tokens.max(1.0)
}

/// Moves the null experts' bias in every layer by the fraction `haste` of the way to where they get `share` of the
/// batch's choices.
fn settle<B: TrainingBackend>(
    student: CausalLm<B>,
    routings: &[(usize, Routing<B>)],
    k: usize,
    share: f64,
    haste: f32,
) -> CausalLm<B> {
    student.map_routers(|layer, router: Router<B>| {
        let (_, routing) = &routings[layer];
        let [tokens, slots] = routing.scores.dims();
        let scores: Vec<f32> = routing.scores.clone().into_data().iter().collect();
        let wanted = share * (tokens * k) as f64;
        router.with_null_bias_moved(haste * rise(&scores, [slots, routing.experts, k], wanted))
    })
}
