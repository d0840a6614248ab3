//! What layers with a state compute.

use burn::tensor::Tensor;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Attended, LinearAttention, LinearAttentionOptions, UpdateRule,
};

use super::{Trained, floats, passes, values};

/// A chunk of sixteen and another; where the rule leaves the choice, one chunk.
const SEQ: usize = 20;

fn attended<B: Trained>(rule: UpdateRule) -> Vec<Vec<f32>> {
    let (batch, heads, key_dim, value_dim) = (2, 3, 8, 6);
    let gate = |seed| floats::<B, 3>([batch, SEQ, heads], seed);
    let query = floats::<B, 4>([batch, SEQ, heads, key_dim], 1);
    let key = floats::<B, 4>([batch, SEQ, heads, key_dim], 2);
    let value = floats::<B, 4>([batch, SEQ, heads, value_dim], 3);
    let (decay, write) = (gate(4), gate(5));
    let state = floats::<B, 4>([batch, heads, key_dim, value_dim], 6);
    let input = LinearAttention {
        query: query.clone(),
        key: key.clone().mul_scalar(0.4),
        value: value.clone(),
        log_decay: decay.clone().mul_scalar(0.1).sub_scalar(0.1),
        write: write.mul_scalar(0.5).add_scalar(0.5),
        state: state.clone(),
    };
    let options = LinearAttentionOptions { rule, scale: 0.3 };
    let Attended { output, state: now } =
        B::linear_attention(input, options, &AttentionMask::Causal);
    let all = Tensor::cat(vec![output.swap_dims(1, 2), now], 2);
    passes(all, gradients!(query, key, value, decay, state))
}

pub(super) fn gated_linear_attention<B: Trained>() -> Vec<Vec<f32>> {
    attended::<B>(UpdateRule::Additive)
}

/// On GPUs without gradients: under burn-fusion 0.21 that of the keys is off by 3 %.
pub(super) fn chunk_level_delta<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = attended::<B>(UpdateRule::ChunkDelta { chunk: 16 });
    if cfg!(feature = "cubecl") {
        all.truncate(1);
    }
    all
}

pub(super) fn gated_delta_rule<B: Trained>() -> Vec<Vec<f32>> {
    attended::<B>(UpdateRule::Delta)
}
