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

/// Stacked weights of all experts.
#[derive(Debug, Clone)]
pub struct Projections<B: Backend> {
    /// `G`, `[experts, hidden, width]`.
    pub gate: Tensor<B, 3>,
    /// `U`, `[experts, hidden, width]`.
    pub up: Tensor<B, 3>,
    /// `D`, `[experts, width, hidden]`.
    pub down: Tensor<B, 3>,
}

/// Values that the forward pass saves for the backward pass.
#[derive(Debug, Clone)]
pub struct Saved<B: Backend> {
    /// Input tokens, `[tokens, hidden]`.
    pub input: Tensor<B, 2>,
    /// Weights of the experts.
    pub projections: Projections<B>,
    /// Gate weights, `[tokens, k]`.
    pub weights: Tensor<B, 2>,
    /// Assignment of tokens to experts.
    pub dispatch: Arc<Dispatch>,
    /// `x G` of every assignment, ordered by position, `[assignments, width]`.
    pub gate_product: Tensor<B, 2>,
    /// `x U` of every assignment, ordered by position, `[assignments, width]`.
    pub up_product: Tensor<B, 2>,
}

/// Gradients that a backward pass must compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Gradient of the input.
    pub input: bool,
    /// Gradients of the three weight stacks.
    pub projections: bool,
    /// Gradient of the gate weights.
    pub weights: bool,
}

/// Gradients of a backward pass; `None` if not needed.
#[derive(Debug, Clone)]
pub struct Gradients<B: Backend> {
    /// Gradient of the input, `[tokens, hidden]`.
    pub input: Option<Tensor<B, 2>>,
    /// Gradients of the weight stacks; zero for an expert without tokens.
    pub projections: Option<Projections<B>>,
    /// Gradient of the gate weights, `[tokens, k]`; zero for a choice of no expert.
    pub weights: Option<Tensor<B, 2>>,
}
