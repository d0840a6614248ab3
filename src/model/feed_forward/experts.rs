//! Routed experts, stacked into one parameter per projection.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::feed_forward::{Gated, Routed};

use super::moe::MoeConfig;
use crate::model::init::Initializers;
use crate::model::matrices::Scope;
use crate::model::matrix::Matrix;
use crate::model::routing::Routing;

/// SwiGLU experts. The first dimension of every weight indexes the expert.
#[derive(Module, Debug)]
pub struct Experts<B: Backend> {
    /// `[experts, hidden_size, moe_intermediate_size]`.
    pub gate_proj: Matrix<B, 3>,
    /// `[experts, hidden_size, moe_intermediate_size]`.
    pub up_proj: Matrix<B, 3>,
    /// `[experts, moe_intermediate_size, hidden_size]`.
    pub down_proj: Matrix<B, 3>,
}

impl<B: Backend> Experts<B> {
    pub(super) fn init(config: &MoeConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let (experts, width) = (config.n_routed_experts, config.moe_intermediate_size);
        let hidden = init.config().hidden_size;
        Self {
            gate_proj: init.matrix([experts, hidden, width], init.range(), device),
            up_proj: init.matrix([experts, hidden, width], init.range(), device),
            down_proj: init.matrix([experts, width, hidden], init.residual_range(), device),
        }
    }
}

impl<B: Backend> Experts<B> {
    pub(super) fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            gate_proj: scope.stack("gate_proj", self.gate_proj),
            up_proj: scope.stack("up_proj", self.up_proj),
            down_proj: scope.stack("down_proj", self.down_proj),
        }
    }

    /// Replaces the experts by copies of the experts `sources`.
    ///
    /// # Panics
    ///
    /// If the experts are quantized or adapted, since only trained experts change.
    pub fn divided(self, sources: &[usize]) -> Self {
        Self {
            gate_proj: self.gate_proj.selected(0, sources),
            up_proj: self.up_proj.selected(0, sources),
            down_proj: self.down_proj.selected(0, sources),
        }
    }
}

impl<B: Ops> Experts<B> {
    /// Computes the chosen experts of every token and sums their outputs, weighted by the gates.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[tokens, hidden_size]`
    pub fn forward(&self, hidden: Tensor<B, 2>, routing: &Routing<B>) -> Tensor<B, 2> {
        let dtype = hidden.dtype();
        B::feed_forward(hidden, Some(self.routed(routing, dtype)), None)
    }

    /// The experts and a routing as an operand of the backend; gates are cast to `dtype`.
    pub(super) fn routed(&self, routing: &Routing<B>, dtype: DType) -> Routed<B> {
        Routed {
            experts: Gated {
                gate: self.gate_proj.weight(),
                up: self.up_proj.weight(),
                down: self.down_proj.weight(),
            },
            indices: routing.indices.clone(),
            weights: routing.weights.clone().cast(dtype),
        }
    }
}
