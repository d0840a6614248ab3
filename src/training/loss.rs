//! Loss of a micro-batch: next-token prediction, multi-token prediction, sequence-wise balance and auxiliary router
//! losses.
//!
//! DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), sections 2.1.2 and 2.2. Every part is a sum over the
//! micro-batch, divided by a total over the whole optimizer step.

use burn::tensor::{DType, Int, Tensor};
use darkhorse_backends::Ops;

use super::batch::{self, MicroBatch};
use crate::data::PackedBatch;
use crate::model::mixer::TokenMixer;
use crate::model::routing::balance::losses::{self, load_loss};
use crate::model::routing::{Route, Routing};
use crate::model::{CausalLm, Hidden, Sequences};

/// Factors of the losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Factor of the multi-token prediction loss, which is averaged over depths.
    pub mtp: f64,
    /// Factor of the sequence-wise balance loss.
    pub balance: f64,
}

/// Losses of a micro-batch, each divided by its total over the optimizer step.
#[derive(Debug, Clone)]
pub struct Losses<B: Ops> {
    /// Total loss to differentiate, `[1]`.
    pub total: Tensor<B, 1>,
    /// Next-token loss in nats, `[1]`.
    pub next_token: Tensor<B, 1>,
    /// Mean loss of the MTP modules in nats, `[1]`.
    pub mtp: Tensor<B, 1>,
    /// Sequence-wise balance loss without its factor, `[1]`.
    pub balance: Tensor<B, 1>,
    /// Auxiliary losses of the routers with their factors, `[1]`; `None` if there are none.
    pub routers: Option<Tensor<B, 1>>,
    /// Final states of the main model, `[rows, seq, hidden_size]`.
    pub states: Tensor<B, 3>,
    /// Routing of every MoE layer, main model first, with its MTP depth (0: main model).
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
    let input = Sequences {
        step: Some(batch.step),
        ..batch::sequences::<B>(&batch.rows, &device)
    };
    let mut hidden = model.hidden(&input);
    let next_token = token_loss(model, &hidden, batch, 0);

    let zero = Tensor::<B, 1>::zeros([1], (&device, DType::F32));
    let mut mtp = zero.clone();
    let depths = model.mtp.len();
    let states = hidden.states.clone();
    let mut routings = with_depth(0, std::mem::take(&mut hidden.routings));
    for depth in 0..depths {
        hidden = model.predict_further(depth, hidden.states, &input);
        mtp = mtp + token_loss(model, &hidden, batch, depth + 1).div_scalar(depths as f64);
        routings.extend(with_depth(depth + 1, std::mem::take(&mut hidden.routings)));
    }

    let balance = if weights.balance > 0.0 {
        balance_loss(&routings, batch, &input).unwrap_or(zero)
    } else {
        zero
    };
    let routers = router_losses(&routings, batch, &device);
    let mut total = next_token.clone()
        + mtp.clone().mul_scalar(weights.mtp)
        + balance.clone().mul_scalar(weights.balance);
    if let Some(routers) = &routers {
        total = total + routers.clone();
    }
    Losses {
        total,
        next_token,
        mtp,
        balance,
        routers,
        states,
        routings,
    }
}

fn with_depth<B: Ops>(depth: usize, routings: Vec<Routing<B>>) -> Vec<(usize, Routing<B>)> {
    routings
        .into_iter()
        .map(|routing| (depth, routing))
        .collect()
}

/// Negative log-likelihood of every target, zero where none counts, `[tokens]`.
fn token_losses<B, M, R>(
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

/// Next-token losses in nats of all counted predictions, with their index in the batch.
pub fn counted_losses<B, M, R>(
    model: &CausalLm<B, M, R>,
    hidden: &Hidden<B>,
    rows: &PackedBatch,
) -> Vec<(usize, f64)>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let targets = batch::targets(rows, 0);
    let losses = token_losses(model, hidden, &targets).into_data();
    let places = losses.iter::<f64>().enumerate();
    places.filter(|&(at, _)| targets.counted[at]).collect()
}

/// Mean next-token loss of a batch in nats per token; `None` if no prediction counts.
pub fn mean_loss<B, M, R>(model: &CausalLm<B, M, R>, rows: &PackedBatch) -> Option<f64>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let hidden = model.hidden(&batch::sequences(rows, &model.embed_tokens.device()));
    let losses = counted_losses(model, &hidden, rows);
    let sum: f64 = losses.iter().map(|(_, nats)| nats).sum();
    (!losses.is_empty()).then(|| sum / losses.len() as f64)
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
            load_loss(routing, batch::indicator(&present, shape, &device))
        })
        .reduce(|sum, layer| sum + layer)
        .map(|sum| sum.div_scalar(batch.totals.rows as f64))
}

/// Auxiliary losses of the routers, summed over layers, normalized by the rows and positions of the whole step.
fn router_losses<B: Ops>(
    routings: &[(usize, Routing<B>)],
    batch: &MicroBatch,
    device: &B::Device,
) -> Option<Tensor<B, 1>> {
    let of_layer = |(depth, routing): &(usize, Routing<B>)| {
        let factors = routing.loss_factors;
        if factors.are_zero() {
            return None;
        }
        let tokens = batch.rows.rows * batch.rows.seq_len;
        let present = batch::present(&batch.rows, *depth);
        let counted = batch::indicator::<B, 1>(&present, [tokens], device);
        let rows_of_step = batch.totals.rows as f64;
        let share = batch.rows.rows as f64 / rows_of_step;
        let per_token = 1.0 / (rows_of_step * batch.rows.seq_len as f64);
        let load = || load_loss(routing, counted.clone().unsqueeze()) * (factors.load * share);
        let z = || losses::z_loss(routing, counted.clone()) * (factors.z * per_token);
        let information = || {
            losses::mutual_information_loss(routing, counted.clone())
                * (factors.mutual_information * per_token)
        };
        let parts = [
            (factors.load > 0.0).then(load),
            (factors.z > 0.0).then(z),
            (factors.mutual_information > 0.0).then(information),
        ];
        parts.into_iter().flatten().reduce(|sum, part| sum + part)
    };
    let layers = routings.iter().filter_map(of_layer);
    layers.reduce(|sum, layer| sum + layer)
}

/// Tag under which the routing of every token at `depth` is counted.
pub(super) fn count_tags<B: Ops>(
    batch: &MicroBatch,
    depth: usize,
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    let present = batch::present(&batch.rows, depth);
    batch::counting_tags(&batch.rows.tags, &present, device)
}

#[cfg(test)]
mod tests {
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::domain::UNTAGGED;
    use crate::model::ModelConfig;

    fn config(selective: serde_json::Value) -> ModelConfig {
        let config: ModelConfig = serde_json::from_value(serde_json::json!({
            "vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 40, "first_k_dense_replace": 2,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
            "layer_types": ["gqa"], "rope": {"rope_theta": 10000.0}, "max_position_embeddings": 32, "initializer_range": 0.3,
            "selective": selective
        }))
        .expect("the configuration is complete");
        config.validate().expect("the configuration is valid");
        config
    }

    fn loss_at(step: u64, selective: serde_json::Value) -> f64 {
        let model = CausalLm::<Selected>::init(&config(selective), 1, &Default::default());
        let rows = PackedBatch {
            rows: 1,
            seq_len: 8,
            ids: vec![3, 9, 27, 5, 15, 14, 11, 2],
            segments: vec![0; 8],
            positions: (0..8).collect(),
            tags: vec![UNTAGGED; 8],
            domains: vec![0; 8],
            counted: vec![true; 8],
            bytes: vec![1; 8],
            documents: vec![vec![0]],
        };
        let batch = MicroBatch::of_step(step, vec![rows], 0).remove(0);
        let weights = Weights {
            mtp: 0.0,
            balance: 0.0,
        };
        loss(&model, &batch, weights).total.into_scalar().into()
    }

    #[test]
    fn a_selective_layer_follows_its_schedule_while_it_is_trained() {
        let always = |k_ratio: f64| serde_json::json!({"k_ratio": k_ratio, "applies": "always"});
        let mut scheduled = always(0.25);
        scheduled["schedule"] =
            serde_json::json!({"warmup_steps": 10, "sparsify_steps": 100, "curve": "linear"});
        for (step, k_ratio) in [(1, 1.0), (9, 1.0), (60, 0.625), (110, 0.25), (5000, 0.25)] {
            let found = loss_at(step, scheduled.clone());
            assert_eq!(found, loss_at(step, always(k_ratio)), "step {step}");
        }
        assert_ne!(loss_at(1, scheduled.clone()), loss_at(110, scheduled));
    }
}
