//! Reference implementation: one token after the other.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::runs::by_document;
use super::{Attended, LinearAttention, LinearAttentionOptions, UpdateRule, runs};
use crate::attention::AttentionMask;
use crate::product::Times;

/// See [`Ops::linear_attention`](crate::Ops::linear_attention).
pub fn linear_attention<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
) -> Attended<B> {
    by_document(input, runs(mask).as_ref(), |document| {
        recurrent(document, options)
    })
}

/// Reference implementation for one document.
pub(super) fn recurrent<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
) -> Attended<B> {
    let [batch, seq, heads, key_dim] = input.key.dims();
    let [_, _, _, value_dim] = input.value.dims();
    let row = |of: &Tensor<B, 4>, at: usize| of.clone().narrow(1, at, 1).swap_dims(1, 2);
    let column = |of: &Tensor<B, 4>, at: usize| {
        let key = of.clone().narrow(1, at, 1);
        key.reshape([batch, heads, key_dim, 1])
    };
    let [log_decay, write] = [&input.log_decay, &input.write].map(|of| of.clone().unsqueeze_dim(3));
    let gate = |of: &Tensor<B, 4>, at: usize| {
        let gate = of.clone().narrow(1, at, 1);
        gate.reshape([batch, heads, 1, 1])
    };

    let mut state = input.state.clone();
    let mut chunk = Chunk::beginning(&state);
    let mut outputs = Vec::new();
    for at in 0..seq {
        let decay = gate(&log_decay, at).exp();
        let (key, value) = (column(&input.key, at), row(&input.value, at));
        let decayed = state * decay.clone();
        let written = match options.rule {
            UpdateRule::Additive | UpdateRule::ChunkDelta { .. } => value.clone(),
            UpdateRule::Delta => {
                let known = key.clone().swap_dims(2, 3).times(decayed.clone());
                (value.clone() - known) * gate(&write, at)
            }
        };
        state = decayed + key.clone().times(written);
        let read = row(&input.query, at).times(state.clone());
        outputs.push(read.mul_scalar(options.scale).swap_dims(1, 2));

        if let UpdateRule::ChunkDelta { chunk: length } = options.rule {
            chunk.add(decay, key, value, gate(&write, at));
            if (at + 1) % length == 0 || at + 1 == seq {
                state = chunk.handed_on(options.scale);
                chunk = Chunk::beginning(&state);
            }
        }
    }
    debug_assert_eq!(state.dims(), [batch, heads, key_dim, value_dim]);
    Attended {
        output: Tensor::cat(outputs, 1),
        state,
    }
}

/// State of a chunk under [`UpdateRule::ChunkDelta`]: the initial state, and the keys, values and write strengths of
/// its tokens; the initial state and the keys are decayed to the current token.
struct Chunk<B: Backend> {
    state: Tensor<B, 4>,
    tokens: Vec<[Tensor<B, 4>; 3]>,
}

impl<B: Backend> Chunk<B> {
    fn beginning(state: &Tensor<B, 4>) -> Self {
        Self {
            state: state.clone(),
            tokens: Vec::new(),
        }
    }

    fn add(
        &mut self,
        decay: Tensor<B, 4>,
        key: Tensor<B, 4>,
        value: Tensor<B, 4>,
        write: Tensor<B, 4>,
    ) {
        self.state = self.state.clone() * decay.clone();
        for [key, ..] in &mut self.tokens {
            *key = key.clone() * decay.clone();
        }
        self.tokens.push([key, value, write]);
    }

    /// State passed to the next chunk, `S + sum_i k_i (b_i (v_i - s k_i^T S))^T`.
    fn handed_on(&self, scale: f64) -> Tensor<B, 4> {
        let mut next = self.state.clone();
        for [key, value, write] in self.tokens.clone() {
            let known = key.clone().swap_dims(2, 3).times(self.state.clone());
            next = next + key.times((value - known.mul_scalar(scale)) * write);
        }
        next
    }
}
