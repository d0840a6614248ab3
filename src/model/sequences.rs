//! Token rows that go through a model, and what its layers make of them.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::attention::AttentionMask;

use super::block::BlockOutput;
use super::routing::Routing;

/// A batch of token rows.
#[derive(Debug, Clone)]
pub struct Sequences<B: Backend> {
    /// Token ids, `[batch, seq]`.
    pub ids: Tensor<B, 2, Int>,
    /// Position of each token in its document, `[batch, seq]`.
    pub positions: Tensor<B, 2, Int>,
    /// What a position may attend to.
    pub mask: AttentionMask<B>,
    /// Row of the domain prior for each token, `[batch * seq]`; absent: untagged.
    pub tags: Option<Tensor<B, 1, Int>>,
    /// Step of the training that the batch is for, where a layer follows a schedule; absent: its end.
    pub step: Option<u64>,
}

/// What the layers made of a batch.
#[derive(Debug, Clone)]
pub struct Hidden<B: Backend> {
    /// The residual stream after the final norm, `[batch, seq, hidden_size]`.
    pub states: Tensor<B, 3>,
    /// One per layer that routes, first layer first.
    pub routings: Vec<Routing<B>>,
}

/// What every layer made of a batch.
#[derive(Debug, Clone)]
pub struct Trace<B: Backend> {
    /// Rows of the embedding table, `[batch, seq, hidden_size]`.
    pub embedded: Tensor<B, 3>,
    /// The residual stream after each layer, and its routing, first layer first.
    pub layers: Vec<BlockOutput<B>>,
    /// What [`CausalLm::hidden`](super::CausalLm::hidden) gives.
    pub output: Hidden<B>,
}

impl<B: Backend> Sequences<B> {
    /// Rows of one untagged document each, from position 0.
    pub fn plain(ids: Tensor<B, 2, Int>) -> Self {
        let [batch, seq] = ids.dims();
        let positions = Tensor::arange(0..seq as i64, &ids.device())
            .unsqueeze::<2>()
            .expand([batch, seq]);
        Self {
            ids,
            positions,
            mask: AttentionMask::Causal,
            tags: None,
            step: None,
        }
    }
}

/// Every row `by` tokens later; the last `by` ids stay what they were and predict nothing that counts.
pub(super) fn shift_left<B: Backend>(ids: Tensor<B, 2, Int>, by: usize) -> Tensor<B, 2, Int> {
    let [_, seq] = ids.dims();
    let by = by.min(seq);
    Tensor::cat(
        vec![
            ids.clone().narrow(1, by, seq - by),
            ids.narrow(1, seq - by, by),
        ]
        .into_iter()
        .filter(|part| part.dims()[1] > 0)
        .collect(),
        1,
    )
}
