//! The learner's model: a language model with its training settings.

use burn::module::{AutodiffModule, Module};
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use darkhorse_backends::{Ops, awake_gradients};

use super::TrainingConfig;
use super::batch::MicroBatch;
use super::ledger::{BalanceReport, Deferred, Ledger};
use super::loss::{self, Losses, Weights};
use super::mitosis::Mitosis;
use crate::data::PackedBatch;
use crate::model::CausalLm;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::balance::Goal;
use crate::model::routing::balance::quantile::{self, Margins};
use crate::model::routing::domain::DomainConfig;
use crate::model::routing::growth::{Change, Growing};
use crate::model::routing::stats::{self, Demand, LoadCounts, NOT_COUNTED, Observed, Sample};
use crate::model::routing::{Route, Router, Routing, balance};

/// A backend for training: with autodiff, and with [`Ops`] on both the outer and the inner backend.
pub trait TrainingBackend: AutodiffBackend<InnerBackend: Ops> + Ops {}

impl<B: AutodiffBackend<InnerBackend: Ops> + Ops> TrainingBackend for B {}

/// A mixer for training, whose inner module runs evaluations without autodiff.
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

/// A router for training, whose inner module runs evaluations without autodiff.
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

/// A [`CausalLm`] as the model of burn-train's learner.
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
    #[module(skip)]
    mitosis: Mitosis,
}

impl<B: Backend, M: Module<B>, R: Module<B>> Trainee<B, M, R> {
    /// Prepares a model for training.
    pub fn new(model: CausalLm<B, M, R>, config: TrainingConfig, domains: DomainConfig) -> Self {
        Self {
            model,
            mitosis: Mitosis::new(config.mitosis.clone(), config.steps),
            config,
            domains,
            ledger: Ledger::default(),
        }
    }

    /// Mitosis of the experts; shared with every clone.
    pub fn mitosis(&self) -> Mitosis {
        self.mitosis.clone()
    }

    /// Counts that wait for the optimizer step; shared with every clone.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }
}

/// Losses of a micro-batch, each divided by its total over the optimizer step, so that their sums over the
/// micro-batches are means per token. `None` if the model or the step has no such loss.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepLosses {
    /// Next-token loss in nats.
    pub next_token: f64,
    /// Multi-token prediction loss in nats.
    pub mtp: Option<f64>,
    /// Sequence-wise balance loss.
    pub balance: Option<f64>,
    /// Auxiliary losses of the routers, including their factors.
    pub routers: Option<f64>,
}

impl StepLosses {
    /// Adds the losses of another micro-batch of the step.
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

    /// Whether all losses are finite.
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

/// Report of a training step or an evaluation to the learner's metrics; `None` for values that were not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepReport {
    /// The parts of the loss.
    pub losses: StepLosses,
    /// Global norm of the gradients before clipping.
    pub gradient_norm: Option<f64>,
    /// Largest MaxVio over all layers, the relative overload of the worst expert.
    pub max_violation: Option<f64>,
    /// Training throughput in tokens per second.
    pub tokens_per_s: Option<f64>,
}

impl StepReport {
    /// Report of an evaluation, which only has a loss.
    pub fn of_loss(next_token: f64) -> Self {
        Self {
            losses: StepLosses {
                next_token,
                ..Default::default()
            },
            ..Default::default()
        }
    }
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
            let slots = routing.slots();
            let counts = stats::count(routing.indices.clone(), tags.clone(), slots).inner();
            let places = routing.growth.as_ref().map(|it| it.places.clone().inner());
            let demand = self.demand(batch.step, routing, tags);
            Deferred::new(move || Observed {
                counts: LoadCounts::from_values(&values(counts), experts)
                    .of_roster(places.map(|places| Growing::roster(places, experts))),
                margins: margins.map(|margins| Margins::from_values(&values(margins))),
                growth: demand.map(Deferred::get),
            })
        });
        self.ledger.record(batch.step, seen.collect());
    }

    /// Demand of a layer's tokens for experts, if the layer's experts can divide.
    fn demand(
        &self,
        step: u64,
        routing: &Routing<B>,
        tags: Tensor<B, 1, Int>,
    ) -> Option<Deferred<Demand>> {
        let growth = routing.growth.as_ref()?;
        let [_, k] = routing.indices.dims();
        let unbiased = growth.unbiased.clone().filter(|_| self.mitosis.measures());
        let unbiased = unbiased.map(|unbiased| {
            let chosen = B::top_k(unbiased, k);
            stats::count(chosen, tags.clone(), routing.slots()).inner()
        });
        let hidden = growth.hidden.clone().filter(|_| self.mitosis.is_due(step));
        let sample = hidden.map(|hidden| {
            (
                hidden.inner(),
                routing.indices.clone().inner(),
                tags.inner(),
            )
        });
        let slots = routing.slots();
        Some(Deferred::new(move || Demand {
            k,
            unbiased: unbiased.map_or_else(Vec::new, |counts| {
                let counts = LoadCounts::from_values(&values(counts), slots);
                counts.total()
            }),
            sample: sample.map_or_else(Sample::default, |(hidden, indices, tags)| {
                let [_, width] = hidden.dims();
                Sample::of_tokens(
                    (&values(hidden), width),
                    (&indices.into_data().iter::<i64>().collect::<Vec<_>>(), k),
                    &tags.into_data().iter::<i64>().collect::<Vec<_>>(),
                )
            }),
        }))
    }

    /// Balances every router by the counts of the whole step, then lets experts divide.
    fn rebalance(self) -> Self
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let (step, seen) = self.ledger.take();
        self.even_out(step, &seen).grow(step, &seen)
    }

    fn even_out(mut self, step: u64, seen: &[Observed]) -> Self {
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

    /// Divides and retires experts, and updates sibling inhibition.
    fn grow(mut self, step: u64, seen: &[Observed]) -> Self
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let mut rosters = Vec::new();
        self.model = self.model.map_routers(|_, router| {
            rosters.push(router.roster());
            router
        });
        if rosters.iter().all(Option::is_none) {
            return self;
        }
        let rows = self.mitosis.take_rows();
        let mut grown = self.mitosis.decide(step, seen, &rosters, &self.domains);
        let is_event = !grown.changes.iter().all(Change::is_empty);
        let rows = rows.filter(|_| is_event);
        let loss = |model: &CausalLm<B, M, R>| loss::mean_loss(&model.valid(), rows.as_ref()?);
        if is_event {
            // sibling inhibition of the next step is applied first: it is not part of the event
            let opened = |layer: usize| Change {
                divisions: Vec::new(),
                retired: Vec::new(),
                ..grown.changes[layer].clone()
            };
            self.model = self.model.map_moe(|layer, moe| moe.grow(&opened(layer)));
        }
        grown.record.loss_before = loss(&self.model);
        self.model = self
            .model
            .map_moe(|layer, moe| moe.grow(&grown.changes[layer]));
        grown.record.loss_after = loss(&self.model);
        if is_event {
            self.mitosis.publish(grown);
        }
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
        if self.mitosis.is_due(batch.step) {
            self.mitosis.keep(&batch.rows);
        }
        let trainee = self.clone();
        awake_gradients(move || {
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
        awake_gradients(move || optim.step(lr, self, grads).rebalance())
    }

    fn optimize_multi<B2, O>(self, optim: &mut O, lr: f64, grads: MultiGradientsParams) -> Self
    where
        B2: AutodiffBackend,
        O: Optimizer<Self, B2>,
        Self: AutodiffModule<B2>,
    {
        awake_gradients(move || optim.step_multi(lr, self, grads).rebalance())
    }
}

impl ItemLazy for StepReport {
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
    type Output = StepReport;

    fn step(&self, rows: PackedBatch) -> StepReport {
        let model = self.model.clone();
        let loss = awake_gradients(move || loss::mean_loss(&model, &rows));
        StepReport::of_loss(loss.unwrap_or(f64::NAN))
    }
}
