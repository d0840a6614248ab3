//! The loss of a micro-batch: next tokens, multi-token prediction, sequence-wise balance.
//!
//! DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), sections 2.1.2 and 2.2. Everything is a sum over the
//! micro-batch divided by a total over the whole optimizer step.

use burn::tensor::{DType, Int, Tensor};
use darkhorse_backends::Ops;

use super::batch::{self, MicroBatch};
use crate::model::mixer::TokenMixer;
use crate::model::routing::balance::sequence_loss;
use crate::model::routing::{Route, Routing};
use crate::model::{CausalLm, Hidden, Sequences};

/// Factors of the parts of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Multi-token prediction, averaged over depths.
    pub mtp: f64,
    /// Sequence-wise balance.
    pub balance: f64,
}

/// The parts of a micro-batch's loss, each divided by its total over the optimizer step.
#[derive(Debug, Clone)]
pub struct Losses<B: Ops> {
    /// What gradients are taken of, `[1]`.
    pub total: Tensor<B, 1>,
    /// Next-token loss in nats, `[1]`.
    pub next_token: Tensor<B, 1>,
    /// Mean loss of the MTP modules in nats, `[1]`.
    pub mtp: Tensor<B, 1>,
    /// Sequence-wise balance loss, before its factor, `[1]`.
    pub balance: Tensor<B, 1>,
    /// Routing of every layer that routes, main model first, with the MTP depth it belongs to (0: none).
    pub routings: Vec<(usize, Routing<B>)>,
}

/// Computes the loss of a micro-batch.
pub fn loss<B, M, R>(model: &CausalLm<B, M, R>, batch: &MicroBatch, weights: Weights) -> Losses<B>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let device = model.embed_tokens.device();
    let input = batch::sequences::<B>(&batch.rows, &device);
    let mut hidden = model.hidden(&input);
    let next_token = token_loss(model, &hidden, batch, 0);

    let zero = Tensor::<B, 1>::zeros([1], (&device, DType::F32));
    let mut mtp = zero.clone();
    let depths = model.mtp.len();
    let mut routings = with_depth(0, std::mem::take(&mut hidden.routings));
    for depth in 0..depths {
        hidden = model.predict_further(depth, hidden.states, &input);
        mtp = mtp + token_loss(model, &hidden, batch, depth + 1).div_scalar(depths as f64);
        routings.extend(with_depth(depth + 1, std::mem::take(&mut hidden.routings)));
    }

    let balance = match weights.balance > 0.0 {
        true => balance_loss(&routings, batch, &input).unwrap_or(zero),
        false => zero,
    };
    let total = next_token.clone()
        + mtp.clone().mul_scalar(weights.mtp)
        + balance.clone().mul_scalar(weights.balance);
    Losses {
        total,
        next_token,
        mtp,
        balance,
        routings,
    }
}

fn with_depth<B: Ops>(depth: usize, routings: Vec<Routing<B>>) -> Vec<(usize, Routing<B>)> {
    routings
        .into_iter()
        .map(|routing| (depth, routing))
        .collect()
}

/// Negative log-likelihood of every target at `depth`, zero where none counts, `[tokens]`.
pub(super) fn token_losses<B, M, R>(
    model: &CausalLm<B, M, R>,
    hidden: &Hidden<B>,
    targets: &batch::Targets,
) -> Tensor<B, 1>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let logits = model.logits(hidden.states.clone());
    let [rows, seq, vocab] = logits.dims();
    let device = logits.device();
    let ids = batch::vector::<B>(targets.ids.iter().copied(), &device);
    let counted = batch::indicator(&targets.counted, [rows * seq], &device);
    B::cross_entropy(logits.reshape([rows * seq, vocab]), ids) * counted
}

fn token_loss<B, M, R>(
    model: &CausalLm<B, M, R>,
    hidden: &Hidden<B>,
    batch: &MicroBatch,
    depth: usize,
) -> Tensor<B, 1>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let targets = batch::targets(&batch.rows, depth);
    let total = batch.totals.targets[depth].max(1);
    token_losses(model, hidden, &targets)
        .sum()
        .div_scalar(total as f64)
}

fn balance_loss<B: Ops>(
    routings: &[(usize, Routing<B>)],
    batch: &MicroBatch,
    input: &Sequences<B>,
) -> Option<Tensor<B, 1>> {
    let device = input.ids.device();
    let shape = [batch.rows.rows, batch.rows.seq_len];
    routings
        .iter()
        .map(|(depth, routing)| {
            let present = batch::present(&batch.rows, *depth);
            sequence_loss(routing, batch::indicator(&present, shape, &device))
        })
        .reduce(|sum, layer| sum + layer)
        .map(|sum| sum.div_scalar(batch.totals.rows as f64))
}

/// Integer tensors of the inner backend, for counting outside the graph.
pub(super) fn count_tags<B: Ops>(
    batch: &MicroBatch,
    depth: usize,
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    let present = batch::present(&batch.rows, depth);
    batch::counting_tags(&batch.rows.tags, &present, device)
}
