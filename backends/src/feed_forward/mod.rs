//! Feed-forward of a token: its routed experts, plus a shared expert that every token visits.
//!
//! DeepSeekMoE (<https://arxiv.org/abs/2401.06066>), section 3.2; without routed experts it is the dense SwiGLU
//! (<https://arxiv.org/abs/2002.05202>).

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use crate::weight::Weight;
use crate::{experts, quantized};

/// Stacked experts with the routing of every token.
#[derive(Debug, Clone)]
pub struct Routed<B: Backend> {
    /// The experts.
    pub experts: Gated<B, 3>,
    /// Chosen experts, `[tokens, k]`. An index at or above the number of experts names no expert.
    pub indices: Tensor<B, 2, Int>,
    /// Gate weights of the chosen experts, `[tokens, k]`.
    pub weights: Tensor<B, 2>,
}

impl<B: Backend> From<experts::Projections<B>> for Gated<B, 3> {
    fn from(projections: experts::Projections<B>) -> Self {
        let experts::Projections { gate, up, down } = projections;
        Self {
            gate: Weight::Dense(gate),
            up: Weight::Dense(up),
            down: Weight::Dense(down),
        }
    }
}

impl<B: Backend> From<quantized::Projections<B>> for Gated<B, 3> {
    fn from(projections: quantized::Projections<B>) -> Self {
        let quantized::Projections { gate, up, down } = projections;
        Self {
            gate: Weight::Blocks(gate),
            up: Weight::Blocks(up),
            down: Weight::Blocks(down),
        }
    }
}

/// Weights of a SwiGLU `(silu(x G) * (x U)) D`, or of a stack of them.
#[derive(Debug, Clone)]
pub struct Gated<B: Backend, const D: usize> {
    /// `G`, `[.., hidden, width]`.
    pub gate: Weight<B, D>,
    /// `U`, `[.., hidden, width]`.
    pub up: Weight<B, D>,
    /// `D`, `[.., width, hidden]`.
    pub down: Weight<B, D>,
}
