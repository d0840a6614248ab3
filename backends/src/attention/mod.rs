//! Scaled dot-product attention, causal and within documents.

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
#[cfg(feature = "flex")]
mod visible;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Positions that a query may attend to, in addition to causality.
#[derive(Debug, Clone)]
pub enum AttentionMask<B: Backend> {
    /// Every earlier position.
    Causal,
    /// Earlier positions of the same document, given as non-negative document numbers, `[batch, seq]`.
    Documents(Tensor<B, 2, Int>),
}

/// Settings of a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Factor on the scores.
    pub scale: f64,
    /// Sliding window: maximum number of positions that a query sees, its own included; absent: no limit.
    pub window: Option<usize>,
}

impl AttentionOptions {
    /// Attention to all earlier positions.
    pub fn scaled(scale: f64) -> Self {
        Self {
            scale,
            window: None,
        }
    }
}

/// Values that the forward pass saves for the backward pass.
#[derive(Debug, Clone)]
pub struct Saved<B: Backend> {
    /// `[batch, seq, heads, dim]`.
    pub query: Tensor<B, 4>,
    /// `[batch, seq, heads, dim]`.
    pub key: Tensor<B, 4>,
    /// `[batch, seq, heads, value_dim]`.
    pub value: Tensor<B, 4>,
    /// The mask.
    pub mask: AttentionMask<B>,
    /// Scale and window.
    pub options: AttentionOptions,
    /// `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Logarithm of every softmax's denominator, in f32, `[batch, heads, seq]`.
    pub log_sum_exp: Tensor<B, 3>,
}
