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

/// How a layer attends, whatever the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Factor on the scores.
    pub scale: f64,
    /// How many positions a query sees at most, its own and those just before it; absent: no limit.
    pub window: Option<usize>,
}

impl AttentionOptions {
    /// Attention to the whole past.
    pub fn scaled(scale: f64) -> Self {
        Self {
            scale,
            window: None,
        }
    }
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
    /// Factor on the scores, and how far back a query sees.
    pub options: AttentionOptions,
    /// `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Logarithm of every softmax's denominator, in f32, `[batch, heads, seq]`.
    pub log_sum_exp: Tensor<B, 3>,
}
