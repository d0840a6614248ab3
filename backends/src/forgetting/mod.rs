//! Attention that forgets: softmax attention with a data-dependent decay in the scores.
//!
//! Forgetting Transformer (<https://arxiv.org/abs/2503.02130>), section 3: with
//! `F_i = sum_{l <= i} log f_l`, the score of query `i` and key `j` gains `F_i - F_j`.

#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "flex")]
pub(crate) mod flex_paged;
pub mod paged;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::attention::AttentionMask;
pub use paged::Seen;

/// The tensors of a forgetting attention. The queries are those of the last positions.
#[derive(Debug, Clone)]
pub struct Forgetting<B: Backend> {
    /// `[batch, new, heads, dim]`.
    pub query: Tensor<B, 4>,
    /// `[batch, seq, key_heads, dim]`, each head of keys for as many neighbouring heads of queries.
    pub key: Tensor<B, 4>,
    /// `[batch, seq, heads, value_dim]`.
    pub value: Tensor<B, 4>,
    /// Sum of the logarithms of the forget gates up to each position, its own included,
    /// `[batch, seq, heads]`.
    pub kept: Tensor<B, 3>,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Softmaxes<B: Backend> {
    /// `[batch, heads, new, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Logarithm of every softmax's denominator, in f32, `[batch, heads, new]`.
    pub log_sum_exp: Tensor<B, 3>,
}

/// The forms of a backend that differentiates by hand.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::type_complexity,
    reason = "each type is named once, where it is documented"
)]
pub struct ByHand<B: Backend> {
    /// [`Ops::forgetting_attention`](crate::Ops::forgetting_attention), heads before tokens.
    pub forward: fn(Forgetting<B>, &AttentionMask<B>, f64) -> Softmaxes<B>,
    /// Gradients of the four inputs from that of the output, tokens before heads.
    pub backward:
        fn(Forgetting<B>, &AttentionMask<B>, f64, Softmaxes<B>, Tensor<B, 4>) -> Forgetting<B>,
}
