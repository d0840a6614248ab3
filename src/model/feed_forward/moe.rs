//! Mixture of experts (MoE): a router, many small routed experts, and shared experts that process every token.
//!
//! DeepSeekMoE (<https://arxiv.org/abs/2401.06066>), section 3.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::experts::Experts;
use super::swiglu::SwiGlu;
use crate::model::context::Context;
use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
use crate::model::routing::growth::Change;
use crate::model::routing::{GateRule, Route, Router, RouterConfig, Routing};

/// Configuration of [`Moe`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoeConfig {
    /// Number of routed experts.
    pub n_routed_experts: usize,
    /// Number of slots that each token chooses: routed experts, or null experts if there are any.
    pub num_experts_per_tok: usize,
    /// Intermediate width of one routed expert.
    pub moe_intermediate_size: usize,
    /// Number of shared experts, computed as one expert of their total width.
    #[serde(default)]
    pub n_shared_experts: usize,
    /// Total intermediate width of the shared experts; absent: `n_shared_experts * moe_intermediate_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_expert_intermediate_size: Option<usize>,
    /// Whether the shared experts are gated by `sigmoid(x w)` (Qwen3-Next).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_expert_gate: bool,
    /// Configuration of the router.
    #[serde(default)]
    pub router: RouterConfig,
}

impl MoeConfig {
    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        ModelConfigError::in_range("n_routed_experts", self.n_routed_experts, 1, MAX_SIZE)?;
        ModelConfigError::in_range(
            "num_experts_per_tok",
            self.num_experts_per_tok,
            1,
            self.n_routed_experts,
        )?;
        ModelConfigError::in_range(
            "moe_intermediate_size",
            self.moe_intermediate_size,
            1,
            MAX_SIZE,
        )?;
        ModelConfigError::in_range("n_shared_experts", self.n_shared_experts, 0, MAX_SIZE)?;
        if self.shared_expert_gate {
            ModelConfigError::in_range("n_shared_experts", self.shared_width(), 1, MAX_SIZE)?;
        }
        self.router
            .validate(self)
            .map_err(|error| error.within("router"))
    }

    /// Number of slots that a router chooses among: routed experts and null experts.
    pub fn slots(&self) -> usize {
        self.n_routed_experts + self.router.null_experts
    }

    /// Number of weights of a router's vectors: intercepts of the slots and scales of the experts.
    pub(crate) fn router_vectors(&self) -> u64 {
        let intercepts = if self.router.intercept {
            self.slots()
        } else {
            0
        };
        let scales = match self.router.gate {
            GateRule::Affinity => 0,
            GateRule::UnitScale => self.n_routed_experts,
        };
        (intercepts as u64).saturating_add(scales as u64)
    }

    /// Mean number of routed experts that a token visits.
    pub fn visited_experts(&self) -> f64 {
        self.router
            .k_target
            .unwrap_or(self.num_experts_per_tok as f64)
    }

    /// Total intermediate width of the shared experts.
    pub fn shared_width(&self) -> usize {
        let of_routed = self.n_shared_experts * self.moe_intermediate_size;
        self.shared_expert_intermediate_size.unwrap_or(of_routed)
    }
}

/// Mixture of routed and shared experts.
#[derive(Module, Debug)]
pub struct Moe<B: Backend, R: Module<B> = Router<B>> {
    /// Chooses the experts of every token.
    pub router: R,
    /// The routed experts.
    pub experts: Experts<B>,
    /// The shared experts, if there are any.
    pub shared_experts: Option<SwiGlu<B>>,
    /// Projection to the gate of the shared experts, `[hidden_size, 1]`, if they have one.
    pub shared_expert_gate: Option<Linear<B>>,
}

impl<B: Backend, R: Module<B>> Moe<B, R> {
    pub(super) fn init(
        config: &MoeConfig,
        init: &Initializers<'_>,
        router: R,
        device: &B::Device,
    ) -> Self {
        let shared = config.shared_width();
        let hidden = init.config().hidden_size;
        Self {
            router,
            experts: Experts::init(config, init, device),
            shared_experts: (shared > 0).then(|| SwiGlu::init(shared, Bias::Absent, init, device)),
            shared_expert_gate: config
                .shared_expert_gate
                .then(|| init.linear(hidden, 1, device)),
        }
    }
}

impl<B: Backend, R: Module<B>> Moe<B, R> {
    pub(in crate::model) fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        let gate = self.shared_expert_gate;
        Self {
            experts: self.experts.map_matrices(&mut scope.within("experts")),
            shared_experts: self
                .shared_experts
                .map(|shared| shared.map_matrices(&mut scope.within("shared_experts"))),
            shared_expert_gate: gate.map(|gate| scope.linear("shared_expert_gate", gate)),
            ..self
        }
    }
}

impl<B: Ops, R: Route<B>> Moe<B, R> {
    /// Applies a change of the set of experts. Divisions leave the output unchanged.
    pub fn grow(mut self, change: &Change) -> Self {
        if !change.divisions.is_empty() {
            let [experts, ..] = self.experts.gate_proj.dims();
            self.experts = self.experts.divided(&change.sources(experts));
        }
        self.router = self.router.grow(change);
        self
    }

    /// `sum_k w_k expert_k(x) + shared(x)`, where `w_k` are the gates; also returns the routing.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    pub fn forward(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
    ) -> (Tensor<B, 3>, Routing<B>) {
        let dims = hidden.dims();
        let [batch, seq, width] = dims;
        let tokens = hidden.reshape([batch * seq, width]);
        let routing = self.router.route(tokens.clone(), &context.around);
        let shared = self.shared_experts.as_ref();
        let output = match shared.map(|shared| (shared, shared.gated())) {
            None => self.experts.forward(tokens, &routing),
            Some((_, Some(gated))) if self.shared_expert_gate.is_none() => {
                let routed = self.experts.routed(&routing, tokens.dtype());
                B::feed_forward(tokens, Some(routed), Some(gated))
            }
            Some((shared, _)) => {
                let routed = self.experts.forward(tokens.clone(), &routing);
                let shared = shared.forward(tokens.clone());
                routed
                    + match &self.shared_expert_gate {
                        Some(gate) => shared * sigmoid(gate.forward(tokens)),
                        None => shared,
                    }
            }
        };
        (output.reshape(dims), routing)
    }
}
