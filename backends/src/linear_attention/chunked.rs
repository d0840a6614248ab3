//! Chunks of tokens as matrix products, in burn's operations: the form for backends without one of their own.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

use super::reference::recurrent;
use super::runs::by_document;
use super::{Attended, LinearAttention, LinearAttentionOptions, UpdateRule};
use crate::attention::AttentionMask;

/// Tokens of a chunk where the rule leaves the choice.
pub const CHUNK: usize = 64;
/// The same under the delta rule, whose chunks are solved row by row.
const DELTA_CHUNK: usize = 16;

/// See [`Ops::linear_attention`](crate::Ops::linear_attention). Decays are summed in f32.
pub fn linear_attention<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
) -> Attended<B> {
    let chunk = match options.rule {
        UpdateRule::Additive => CHUNK,
        UpdateRule::ChunkDelta { chunk } => chunk,
        UpdateRule::Delta => DELTA_CHUNK,
    };
    in_chunks(input, options, mask, chunk)
}

/// The same in chunks of `length` tokens, which under [`UpdateRule::ChunkDelta`] must be the rule's own.
pub fn in_chunks<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
    length: usize,
) -> Attended<B> {
    by_document(input, mask, |document| {
        let [_, seq, _, _] = document.key.dims();
        // cheaper, and under burn-fusion 0.21 a chunk of one token is computed wrongly
        if seq == 1 {
            return recurrent(document, options);
        }
        let by_head = |tensor: &Tensor<B, 4>| tensor.clone().swap_dims(1, 2);
        let gates = |tensor: &Tensor<B, 3>| {
            let gates = tensor.clone().swap_dims(1, 2);
            gates.unsqueeze_dim::<4>(3)
        };
        let (query, key, value) = (
            by_head(&document.query),
            by_head(&document.key),
            by_head(&document.value),
        );
        let (log_decay, write) = (gates(&document.log_decay), gates(&document.write));
        let mut state = document.state;
        let mut outputs = Vec::new();
        for start in (0..seq).step_by(length) {
            let len = length.min(seq - start);
            let of = |tensor: &Tensor<B, 4>| tensor.clone().narrow(2, start, len);
            let chunk = Chunk {
                query: of(&query),
                key: of(&key),
                value: of(&value),
                log_decay: of(&log_decay),
                write: of(&write),
            };
            let (output, next) = chunk.attend(state, options);
            outputs.push(output);
            state = next;
        }
        Attended {
            output: Tensor::cat(outputs, 2).swap_dims(1, 2),
            state,
        }
    })
}

/// Some tokens, `[batch, heads, len, _]` each.
struct Chunk<B: Backend> {
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    log_decay: Tensor<B, 4>,
    write: Tensor<B, 4>,
}

impl<B: Backend> Chunk<B> {
    /// The output, and the state after the chunk.
    fn attend(
        self,
        state: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let [batch, heads, len, _] = self.query.dims();
        let dtype = self.query.dtype();
        let since_start = self.log_decay.cast(DType::F32).cumsum(2);
        let future = Tensor::<B, 2, Bool>::tril_mask([len, len], 0, &since_start.device());
        let future = future.unsqueeze::<4>();
        // burn-fusion 0.21 spreads a column wrongly that it computes or transposes in the same kernel
        let of_key = since_start.clone().reshape([batch, heads, 1, len]);
        let between = (since_start.clone() - of_key)
            .mask_fill(future, f32::NEG_INFINITY)
            .exp()
            .cast(dtype);
        let whole = since_start.clone().narrow(2, len - 1, 1);
        let to_end = (whole.clone() - since_start.clone()).exp().cast(dtype);
        let (since_start, whole) = (since_start.exp().cast(dtype), whole.exp().cast(dtype));

        let values = match options.rule {
            UpdateRule::Additive | UpdateRule::ChunkDelta { .. } => self.value.clone(),
            UpdateRule::Delta => {
                let known = (self.key.clone() * since_start.clone()).matmul(state.clone());
                let products = self.key.clone().matmul(self.key.clone().swap_dims(2, 3));
                let mixed = products * between.clone() * self.write.clone();
                solve(mixed, (self.value.clone() - known) * self.write.clone())
            }
        };
        let scores = self.query.clone().matmul(self.key.clone().swap_dims(2, 3)) * between;
        let output =
            scores.matmul(values.clone()) + (self.query * since_start).matmul(state.clone());

        let key = self.key * to_end;
        let decayed = state * whole;
        let written = match options.rule {
            UpdateRule::Additive | UpdateRule::Delta => values,
            UpdateRule::ChunkDelta { .. } => {
                let known = key.clone().matmul(decayed.clone());
                // spread first, for the same reason
                let write = self.write.expand(values.dims());
                (values - known.mul_scalar(options.scale)) * write
            }
        };
        let next = decayed + key.swap_dims(2, 3).matmul(written);
        (output.mul_scalar(options.scale), next)
    }
}

/// `U` of `(I + L) U = W` with the part of `mixed` below its diagonal as `L`, row by row.
fn solve<B: Backend>(mixed: Tensor<B, 4>, wanted: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, len, _] = mixed.dims();
    let mut solved = wanted.clone().narrow(2, 0, 1);
    for row in 1..len {
        let before = mixed.clone().narrow(2, row, 1).narrow(3, 0, row);
        let next = wanted.clone().narrow(2, row, 1) - before.matmul(solved.clone());
        solved = Tensor::cat(vec![solved, next], 2);
    }
    solved
}
