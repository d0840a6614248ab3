//! Forgetting attention: softmax attention with a forget gate, a data-dependent decay of the scores.
//!
//! Forgetting Transformer (<https://arxiv.org/abs/2503.02130>), section 3: the score of query `i` and key `j` gains
//! `F_i - F_j`, where `F_i = sum_{l <= i} log f_l` is the cumulative log of the forget gates `f`.

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

/// Inputs of forgetting attention. The queries belong to the last positions.
#[derive(Debug, Clone)]
pub struct Forgetting<B: Backend> {
    /// `[batch, new, heads, dim]`.
    pub query: Tensor<B, 4>,
    /// `[batch, seq, key_heads, dim]`; each key head is shared by `heads / key_heads` neighbouring query heads.
    pub key: Tensor<B, 4>,
    /// `[batch, seq, heads, value_dim]`.
    pub value: Tensor<B, 4>,
    /// Cumulative log of the forget gates `F`, each position's own included, `[batch, seq, heads]`.
    pub kept: Tensor<B, 3>,
}

/// Values that the forward pass saves for the backward pass.
#[derive(Debug, Clone)]
pub struct Softmaxes<B: Backend> {
    /// `[batch, heads, new, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Logarithm of every softmax's denominator, in f32, `[batch, heads, new]`.
    pub log_sum_exp: Tensor<B, 3>,
}

/// Hand-written forward and backward pass of a backend.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::type_complexity,
    reason = "each type is named once, where it is documented"
)]
pub struct ByHand<B: Backend> {
    /// [`Ops::forgetting_attention`](crate::Ops::forgetting_attention), with heads before tokens in the output.
    pub forward: fn(Forgetting<B>, &AttentionMask<B>, f64) -> Softmaxes<B>,
    /// Gradients of the four inputs from that of the output, which has tokens before heads.
    pub backward:
        fn(Forgetting<B>, &AttentionMask<B>, f64, Softmaxes<B>, Tensor<B, 4>) -> Forgetting<B>,
}
