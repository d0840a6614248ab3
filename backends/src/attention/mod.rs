//! Scaled dot-product attention that sees only the past of its own document.

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
#[cfg(feature = "flex")]
mod visible;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// What a query position may attend to, beyond the causal order.
#[derive(Debug, Clone)]
pub enum AttentionMask<B: Backend> {
    /// Every earlier position.
    Causal,
    /// Earlier positions of the same document: those with an equal number, `[batch, seq]`, none negative.
    Documents(Tensor<B, 2, Int>),
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Saved<B: Backend> {
    /// `[batch, seq, heads, dim]`.
    pub query: Tensor<B, 4>,
    /// `[batch, seq, heads, dim]`.
    pub key: Tensor<B, 4>,
    /// `[batch, seq, heads, value_dim]`.
    pub value: Tensor<B, 4>,
    /// Who sees whom.
    pub mask: AttentionMask<B>,
    /// Factor on the scores.
    pub scale: f64,
    /// `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Logarithm of every softmax's denominator, in f32, `[batch, heads, seq]`.
    pub log_sum_exp: Tensor<B, 3>,
}
