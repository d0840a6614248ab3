//! Routed SwiGLU experts with stacked weights (DeepSeekMoE, <https://arxiv.org/abs/2401.06066>).

pub mod grouped;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

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
