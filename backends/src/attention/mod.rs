//! Scaled dot-product attention that sees only the past of its own document.

pub mod reference;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// What a query position may attend to, beyond the causal order.
#[derive(Debug, Clone)]
pub enum AttentionMask<B: Backend> {
    /// Every earlier position.
    Causal,
    /// Earlier positions of the same document: those with an equal number, `[batch, seq]`.
    Documents(Tensor<B, 2, Int>),
}
