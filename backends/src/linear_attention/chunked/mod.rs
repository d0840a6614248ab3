//! Chunked linear attention as matrix products in burn's operations, for backends without their own form.

mod backward;
mod chunk;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::reference::recurrent;
use super::runs::{Runs, by_document};
use super::{Attended, LinearAttention, LinearAttentionOptions, UpdateRule, runs};
use crate::attention::AttentionMask;
pub(crate) use backward::backward_of;
use chunk::chunks;

/// Tokens per chunk, unless the rule sets it.
pub const CHUNK: usize = 64;
/// Tokens per chunk of the delta rule, whose chunks are solved row by row.
const DELTA_CHUNK: usize = 16;

fn chunk_length(rule: UpdateRule) -> usize {
    match rule {
        UpdateRule::Additive => CHUNK,
        UpdateRule::ChunkDelta { chunk } => chunk,
        UpdateRule::Delta => DELTA_CHUNK,
    }
}

/// [`Ops::linear_attention`](crate::Ops::linear_attention) in chunks of `length` tokens. Under
/// [`UpdateRule::ChunkDelta`] `length` must be that of the rule. Decays are summed in f32.
pub fn in_chunks<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
    length: usize,
) -> Attended<B> {
    by_document(input, runs(mask).as_ref(), |document| {
        of_document(document, options, length)
    })
}

/// See [`ByHand::forward`](super::ByHand::forward).
pub fn forward<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
) -> Tensor<B, 4> {
    forward_of(input, options, runs(mask).as_ref())
}

/// See [`ByHand::backward`](super::ByHand::backward).
pub fn backward<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<B>,
    grad: Tensor<B, 4>,
) -> LinearAttention<B> {
    backward_of(input, options, runs(mask).as_ref(), grad)
}

/// [`forward`] with known documents.
pub(crate) fn forward_of<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    runs: Option<&Runs>,
) -> Tensor<B, 4> {
    let length = chunk_length(options.rule);
    let Attended { output, state } = by_document(input, runs, |document| {
        of_document(document, options, length)
    });
    Tensor::cat(vec![output.swap_dims(1, 2), state], 2)
}

fn of_document<B: Backend>(
    document: LinearAttention<B>,
    options: LinearAttentionOptions,
    length: usize,
) -> Attended<B> {
    let [_, seq, _, _] = document.key.dims();
    if seq == 1 {
        return recurrent(document, options);
    }
    let mut outputs = Vec::with_capacity(seq.div_ceil(length));
    let mut state = document.state.clone();
    for chunk in chunks(&document, length) {
        let values = chunk.values(&state, options.rule);
        outputs.push(chunk.output(&state, values.clone(), options));
        state = chunk.hand_on(state, values, options);
    }
    Attended {
        output: Tensor::cat(outputs, 2).swap_dims(1, 2),
        state,
    }
}
