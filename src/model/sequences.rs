//! Inputs and outputs of a forward pass over token rows.

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
    /// Attention mask.
    pub mask: AttentionMask<B>,
    /// Tag of each token, a row of the domain prior, `[batch * seq]`; absent: untagged.
    pub tags: Option<Tensor<B, 1, Int>>,
    /// Training step, for layers that follow a schedule; absent: the end of training.
    pub step: Option<u64>,
}

/// Output of the decoder layers for one batch.
#[derive(Debug, Clone)]
pub struct Hidden<B: Backend> {
    /// Residual stream after the final norm, `[batch, seq, hidden_size]`.
    pub states: Tensor<B, 3>,
    /// Routing of every MoE layer, first layer first.
    pub routings: Vec<Routing<B>>,
}

/// Outputs of every stage of the model for one batch.
#[derive(Debug, Clone)]
pub struct Trace<B: Backend> {
    /// Embedded tokens, `[batch, seq, hidden_size]`.
    pub embedded: Tensor<B, 3>,
    /// Residual stream and routing after each layer, first layer first.
    pub layers: Vec<BlockOutput<B>>,
    /// Output of [`CausalLm::hidden`](super::CausalLm::hidden).
    pub output: Hidden<B>,
}

impl<B: Backend> Sequences<B> {
    /// Rows of one untagged document each, with positions from 0 and a causal mask.
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

/// Shifts rows left by `by` tokens. The last `by` ids keep their values; predictions from them must be ignored.
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
