//! The learner's model: a language model that knows how it is trained.

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use darkhorse_backends::{Ops, awake};

use super::TrainingConfig;
use super::batch::MicroBatch;
use super::evaluate::{BatchEvaluation, evaluate_batch};
use super::ledger::{BalanceReport, Deferred, Ledger};
use super::loss::{self, Losses, Weights};
use crate::data::PackedBatch;
use crate::model::CausalLm;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::balance::Goal;
use crate::model::routing::balance::quantile::{self, Margins};
use crate::model::routing::domain::DomainConfig;
use crate::model::routing::stats::{self, LoadCounts, NOT_COUNTED, Observed};
use crate::model::routing::{Route, Router, balance};

/// A backend that trains: with gradients, and our operations on both sides of them.
pub trait TrainingBackend: AutodiffBackend<InnerBackend: Ops> + Ops {}

impl<B: AutodiffBackend<InnerBackend: Ops> + Ops> TrainingBackend for B {}

/// A mixer that trains: with gradients, and a form without them for evaluation.
pub trait TrainableMixer<B: TrainingBackend>:
    TokenMixer<B> + AutodiffModule<B, InnerModule: TokenMixer<B::InnerBackend>> + 'static
{
}

impl<B, M> TrainableMixer<B> for M
where
    B: TrainingBackend,
    M: TokenMixer<B> + AutodiffModule<B, InnerModule: TokenMixer<B::InnerBackend>> + 'static,
{
}

/// A router that trains: with gradients, and a form without them for evaluation.
pub trait TrainableRouter<B: TrainingBackend>:
    Route<B> + AutodiffModule<B, InnerModule: Route<B::InnerBackend>> + 'static
{
}

impl<B, R> TrainableRouter<B> for R
where
    B: TrainingBackend,
    R: Route<B> + AutodiffModule<B, InnerModule: Route<B::InnerBackend>> + 'static,
{
}

/// A [`CausalLm`] in burn-train's learner.
#[derive(Module, Debug)]
pub struct Trainee<B: Backend, M: Module<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// The model.
    pub model: CausalLm<B, M, R>,
    #[module(skip)]
    config: TrainingConfig,
    #[module(skip)]
    domains: DomainConfig,
    #[module(skip)]
    ledger: Ledger,
}

impl<B: Backend, M: Module<B>, R: Module<B>> Trainee<B, M, R> {
    /// Prepares a model for training.
    pub fn new(model: CausalLm<B, M, R>, config: TrainingConfig, domains: DomainConfig) -> Self {
        Self {
            model,
            config,
            domains,
            ledger: Ledger::default(),
        }
    }

    /// Where counts wait for the optimizer step; shared with every clone.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }
}

/// Losses of a micro-batch, each divided by its total over the optimizer step: their sums over the
/// micro-batches are means per token. What the model or the step has not is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepLosses {
    /// Next token, in nats.
    pub next_token: f64,
    /// Multi-token prediction, in nats.
    pub mtp: Option<f64>,
    /// Sequence-wise balance.
    pub balance: Option<f64>,
    /// What the routers ask for, with their factors.
    pub routers: Option<f64>,
}

impl StepLosses {
    /// Sum with another micro-batch of the same step.
    pub fn add(&mut self, other: Self) {
        let sum = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.next_token += other.next_token;
        self.mtp = sum(self.mtp, other.mtp);
        self.balance = sum(self.balance, other.balance);
        self.routers = sum(self.routers, other.routers);
    }

    /// Whether every part is a number.
    pub fn is_finite(&self) -> bool {
        let parts = [Some(self.next_token), self.mtp, self.balance, self.routers];
        parts.into_iter().flatten().all(f64::is_finite)
    }
}

impl ItemLazy for Deferred<StepReport> {
    type ItemSync = StepReport;

    fn sync(self) -> StepReport {
        self.get()
    }
}

/// What a training step or an evaluation tells the learner's metrics; what was not measured is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepReport {
    /// The parts of the loss.
    pub losses: StepLosses,
    /// Global norm of the gradients before the clip.
    pub gradient_norm: Option<f64>,
    /// Worst overload of an expert over all layers.
    pub max_violation: Option<f64>,
    /// Trained tokens per second.
    pub tokens_per_s: Option<f64>,
}

fn read_losses<B: Ops>(losses: &Losses<B>, batch: &MicroBatch) -> Deferred<StepReport> {
    let depths = &batch.totals.targets[1..];
    let predicts_further = !depths.is_empty() && depths.iter().all(|&targets| targets > 0);
    let routes = !losses.routings.is_empty();
    let mut parts = vec![
        losses.next_token.clone(),
        losses.mtp.clone(),
        losses.balance.clone(),
    ];
    parts.extend(losses.routers.clone());
    let parts = Tensor::cat(parts, 0).detach();
    Deferred::new(move || {
        let parts: Vec<f64> = parts.into_data().iter::<f64>().collect();
        StepReport {
            losses: StepLosses {
                next_token: parts[0],
                mtp: predicts_further.then_some(parts[1]),
                balance: routes.then_some(parts[2]),
                routers: parts.get(3).copied(),
            },
            ..Default::default()
        }
    })
}

impl<B, M, R> Trainee<B, M, R>
where
    B: TrainingBackend,
    M: TokenMixer<B>,
    R: Route<B>,
{
    fn record_loads(&self, batch: &MicroBatch, losses: &Losses<B>) {
        let device = self.model.embed_tokens.device();
        let seen = losses.routings.iter().map(|(depth, routing)| {
            let experts = routing.experts;
            let tags = loss::count_tags::<B>(batch, *depth, &device);
            let margins = routing.margins.clone().map(|margins| {
                let counted = tags.clone().lower_elem(NOT_COUNTED as i64).float();
                quantile::histogram(margins, counted).inner()
            });
            let counts = stats::count(routing.indices.clone(), tags, routing.slots()).inner();
            Deferred::new(move || Observed {
                counts: LoadCounts::from_values(&values(counts), experts),
                margins: margins.map(|margins| Margins::from_values(&values(margins))),
            })
        });
        self.ledger.record(batch.step, seen.collect());
    }

    /// Lets every router balance its experts by what the whole step counted.
    fn rebalance(mut self) -> Self {
        let (step, seen) = self.ledger.take();
        let speed = self.config.bias_speed_at(step);
        let mut report = BalanceReport::default();
        let domains = &self.domains;
        self.model = self.model.map_routers(|layer, router| {
            let seen = &seen[layer];
            let goal = Goal {
                target: balance::target_load(&seen.counts, domains),
                speed,
            };
            let router = router.balance(seen, &goal);
            report.loads.push(seen.counts.total());
            report.targets.push(goal.target);
            report.null_loads.push(seen.counts.null());
            router
        });
        self.ledger.publish(report);
        self
    }
}

fn values<B: Backend>(tensor: Tensor<B, 2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

impl<B, M, R> TrainStep for Trainee<B, M, R>
where
    B: TrainingBackend,
    M: TrainableMixer<B>,
    R: TrainableRouter<B>,
{
    type Input = MicroBatch;
    type Output = Deferred<StepReport>;

    fn step(&self, batch: MicroBatch) -> TrainOutput<Deferred<StepReport>> {
        let weights = Weights {
            mtp: self.config.mtp_weight_at(batch.step),
            balance: self.config.seq_aux_alpha,
        };
        let trainee = self.clone();
        awake(move || {
            let rounded = trainee.config.precision.rounded(&trainee.model);
            let model = rounded.as_ref().unwrap_or(&trainee.model);
            let losses = loss::loss(model, &batch, weights);
            trainee.record_loads(&batch, &losses);
            let report = read_losses(&losses, &batch);
            TrainOutput::new(&trainee, losses.total.backward(), report)
        })
    }

    fn optimize<B2, O>(self, optim: &mut O, lr: f64, grads: GradientsParams) -> Self
    where
        B2: AutodiffBackend,
        O: Optimizer<Self, B2>,
        Self: AutodiffModule<B2>,
    {
        awake(move || optim.step(lr, self, grads).rebalance())
    }

    fn optimize_multi<B2, O>(self, optim: &mut O, lr: f64, grads: MultiGradientsParams) -> Self
    where
        B2: AutodiffBackend,
        O: Optimizer<Self, B2>,
        Self: AutodiffModule<B2>,
    {
        awake(move || optim.step_multi(lr, self, grads).rebalance())
    }
}

impl ItemLazy for BatchEvaluation {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl<B, M, R> InferenceStep for Trainee<B, M, R>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    type Input = PackedBatch;
    type Output = BatchEvaluation;

    fn step(&self, rows: PackedBatch) -> BatchEvaluation {
        evaluate_batch(&self.model, &rows)
    }
}
