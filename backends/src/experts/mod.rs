//! Routed SwiGLU experts with stacked weights (DeepSeekMoE, <https://arxiv.org/abs/2401.06066>).

#[cfg(feature = "cubecl")]
pub(crate) mod cube;
mod dispatch;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "flex")]
pub(crate) mod flex_backward;
pub mod grouped;
pub mod reference;

use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use dispatch::Dispatch;

/// The stacked weights of all experts.
#[derive(Debug, Clone)]
pub struct Projections<B: Backend> {
    /// `G`, `[experts, hidden, width]`.
    pub gate: Tensor<B, 3>,
    /// `U`, `[experts, hidden, width]`.
    pub up: Tensor<B, 3>,
    /// `D`, `[experts, width, hidden]`.
    pub down: Tensor<B, 3>,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Saved<B: Backend> {
    /// `[tokens, hidden]`.
    pub input: Tensor<B, 2>,
    /// The weights of the experts.
    pub projections: Projections<B>,
    /// Gate weights, `[tokens, k]`.
    pub weights: Tensor<B, 2>,
    /// Who went where.
    pub dispatch: Arc<Dispatch>,
    /// `x G` of every assignment in the order of its position, `[assignments, width]`.
    pub gate_product: Tensor<B, 2>,
    /// `x U` likewise.
    pub up_product: Tensor<B, 2>,
}

/// Which gradients a backward pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// That of the input.
    pub input: bool,
    /// Those of the three stacks.
    pub projections: bool,
    /// That of the gate weights.
    pub weights: bool,
}

/// What a backward pass computes.
#[derive(Debug, Clone)]
pub struct Gradients<B: Backend> {
    /// `[tokens, hidden]`.
    pub input: Option<Tensor<B, 2>>,
    /// In the shapes of the stacks; zero for an expert without a token.
    pub projections: Option<Projections<B>>,
    /// `[tokens, k]`; zero for a choice of no expert.
    pub weights: Option<Tensor<B, 2>>,
}
