//! Linear attention, which carries a state.

use burn::tensor::Tensor;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Attended, LinearAttention, LinearAttentionOptions, UpdateRule,
};

use super::{Trained, floats, integers, passes, values};

/// Sequence lengths: one token, one chunk of 16, and a chunk and a quarter.
const LENGTHS: [usize; 3] = [1, 16, 20];

fn attended<B: Trained>(rule: UpdateRule) -> Vec<Vec<f32>> {
    let in_one = LENGTHS.map(|seq| of_length::<B>(rule, seq, &AttentionMask::Causal));
    let documents = (0..40).map(|at| at / 7).collect();
    let documents = AttentionMask::Documents(integers(documents, [2, 20]));
    let apart = of_length::<B>(rule, 20, &documents);
    in_one.into_iter().flatten().chain(apart).collect()
}

fn of_length<B: Trained>(rule: UpdateRule, seq: usize, mask: &AttentionMask<B>) -> Vec<Vec<f32>> {
    let (batch, heads, key_dim, value_dim) = (2, 3, 8, 6);
    let gate = |seed| floats::<B, 3>([batch, seq, heads], seed);
    let query = floats::<B, 4>([batch, seq, heads, key_dim], 1);
    let key = floats::<B, 4>([batch, seq, heads, key_dim], 2);
    let value = floats::<B, 4>([batch, seq, heads, value_dim], 3);
    let (decay, write) = (gate(4), gate(5));
    let state = floats::<B, 4>([batch, heads, key_dim, value_dim], 6);
    let input = LinearAttention {
        query: query.clone(),
        key: key.clone().mul_scalar(0.4),
        value: value.clone(),
        log_decay: decay.clone().mul_scalar(0.1).sub_scalar(0.1),
        write: write.clone().mul_scalar(0.5).add_scalar(0.5),
        state: state.clone(),
    };
    let options = LinearAttentionOptions { rule, scale: 0.3 };
    let Attended { output, state: now } = B::linear_attention(input, options, mask);
    let all = Tensor::cat(vec![output.swap_dims(1, 2), now], 2);
    passes(all, gradients!(query, key, value, decay, write, state))
}

pub(super) fn gated_linear_attention<B: Trained>() -> Vec<Vec<f32>> {
    attended::<B>(UpdateRule::Additive)
}

pub(super) fn chunk_level_delta<B: Trained>() -> Vec<Vec<f32>> {
    attended::<B>(UpdateRule::ChunkDelta { chunk: 16 })
}

pub(super) fn gated_delta_rule<B: Trained>() -> Vec<Vec<f32>> {
    attended::<B>(UpdateRule::Delta)
}
