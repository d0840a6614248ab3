//! Dense SwiGLU feed-forward, `down(silu(gate(x)) * up(x))` (<https://arxiv.org/abs/2002.05202>).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use darkhorse_backends::feed_forward::Gated;

use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
use crate::model::matrix::Matrix;

/// SwiGLU feed-forward. Also implements the shared experts of a MoE, as one expert of their total width.
#[derive(Module, Debug)]
pub struct SwiGlu<B: Backend> {
    /// `[hidden_size, width]`.
    pub gate_proj: Linear<B>,
    /// `[hidden_size, width]`.
    pub up_proj: Linear<B>,
    /// `[width, hidden_size]`.
    pub down_proj: Linear<B>,
}

impl<B: Backend> SwiGlu<B> {
    pub(super) fn init(
        width: usize,
        bias: Bias,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let hidden = init.config().hidden_size;
        Self {
            gate_proj: init.linear(hidden, width, device).with(bias),
            up_proj: init.linear(hidden, width, device).with(bias),
            down_proj: init.residual_linear(width, hidden, device).with(bias),
        }
    }

    pub(in crate::model) fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            gate_proj: scope.linear("gate_proj", self.gate_proj),
            up_proj: scope.linear("up_proj", self.up_proj),
            down_proj: scope.linear("down_proj", self.down_proj),
        }
    }
}

impl<B: Ops> SwiGlu<B> {
    /// Transforms every row.
    ///
    /// # Shapes
    ///
    /// - input, output: `[.., hidden_size]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let dims = input.dims();
        let rows = dims[..D - 1].iter().product::<usize>();
        let input = input.reshape([rows, dims[D - 1]]);
        let output = match self.gated() {
            Some(gated) => B::feed_forward(input, None, Some(gated)),
            None => {
                let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], input);
                self.down_proj.forward(B::swiglu(gate, up))
            }
        };
        output.reshape(dims)
    }

    /// The weights as an operand of the backend; `None` if the projections have biases or low-rank updates.
    pub(super) fn gated(&self) -> Option<Gated<B, 2>> {
        let Self {
            gate_proj,
            up_proj,
            down_proj,
        } = self;
        let is_plain = |projection: &&Linear<B>| {
            projection.bias.is_none() && !matches!(projection.weight, Matrix::Adapted(_))
        };
        let all = [gate_proj, up_proj, down_proj];
        all.iter().all(is_plain).then(|| Gated {
            gate: gate_proj.weight.weight(),
            up: up_proj.weight.weight(),
            down: down_proj.weight.weight(),
        })
    }
}
