//! Token-to-expert routing by affinity.
//!
//! DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), section 2.1.2; group-limited choice as in its
//! section 2.1.2 "node-limited routing".

use burn::module::{Initializer, Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::{Route, Routing};
use crate::model::error::ModelConfigError;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::init::Initializers;
use crate::model::linear::Linear;

/// Lower than any score, bias and prior together, and finite.
const EXCLUDED: f32 = -1e30;

/// Configuration of a [`Router`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// How logits become affinities.
    pub scoring_func: ScoringFunc,
    /// Number of groups that experts are divided into, in index order.
    pub n_group: usize,
    /// Number of groups a token may choose experts from.
    pub topk_group: usize,
    /// Whether the gates of a token are normalized to sum to one.
    pub norm_topk_prob: bool,
    /// Factor applied to the gates.
    pub routed_scaling_factor: f64,
}

/// How logits become affinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringFunc {
    /// Each expert on its own (DeepSeek-V3).
    Sigmoid,
    /// Against the other experts (Mixtral).
    Softmax,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            scoring_func: ScoringFunc::Sigmoid,
            n_group: 1,
            topk_group: 1,
            norm_topk_prob: true,
            routed_scaling_factor: 1.0,
        }
    }
}

impl RouterConfig {
    pub(crate) fn validate(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        let experts = moe.n_routed_experts;
        ModelConfigError::in_range("n_group", self.n_group, 1, experts)?;
        ModelConfigError::in_range("topk_group", self.topk_group, 1, self.n_group)?;
        if !(self.routed_scaling_factor > 0.0 && self.routed_scaling_factor.is_finite()) {
            return Err(ModelConfigError::NotPositive {
                field: "routed_scaling_factor".into(),
                value: self.routed_scaling_factor,
            });
        }
        if self.n_group == 1 {
            return Ok(());
        }
        if !experts.is_multiple_of(self.n_group) {
            return Err(ModelConfigError::NotAMultiple {
                field: "n_routed_experts".into(),
                value: experts,
                of: self.n_group,
            });
        }
        let group = experts / self.n_group;
        ModelConfigError::in_range("n_group", self.n_group, 1, experts / 2)?;
        ModelConfigError::in_range(
            "num_experts_per_tok",
            moe.num_experts_per_tok,
            1,
            self.topk_group * group,
        )
    }
}

/// Chooses the experts of every token by affinity. Built by [`CausalLm`](crate::model::CausalLm).
#[derive(Module, Debug)]
pub struct Router<B: Backend> {
    /// Expert centroids, `[hidden_size, n_routed_experts]`.
    pub gate: Linear<B>,
    /// Added to the affinities for the choice only, `[n_routed_experts]`; moved by
    /// [`balance`](super::balance), not by gradients.
    pub e_score_correction_bias: Param<Tensor<B, 1>>,
    num_experts_per_tok: usize,
    #[module(skip)]
    config: RouterConfig,
}

impl<B: Backend> Router<B> {
    /// A router for the experts of the model being built, with a zero bias.
    ///
    /// # Panics
    ///
    /// If the model has no experts.
    pub fn init(init: &Initializers<'_>, device: &B::Device) -> Self {
        let model = init.config();
        let moe = model.moe.as_ref().expect("a layer that routes has experts");
        Self {
            gate: init.dense_linear(model.hidden_size, moe.n_routed_experts, device),
            e_score_correction_bias: Initializer::Zeros
                .init([moe.n_routed_experts], device)
                .set_require_grad(false),
            num_experts_per_tok: moe.num_experts_per_tok,
            config: moe.router.clone(),
        }
    }

    /// Excludes all experts outside the `topk_group` groups whose two best are best.
    fn limit_to_groups(&self, choice: Tensor<B, 2>) -> Tensor<B, 2>
    where
        B: Ops,
    {
        let (groups, kept) = (self.config.n_group, self.config.topk_group);
        if groups == 1 {
            return choice;
        }
        let [tokens, experts] = choice.dims();
        let members = experts / groups;
        let by_group = choice.clone().reshape([tokens * groups, members]);
        let best_two = by_group.clone().gather(1, B::top_k(by_group, 2));
        let group_scores = best_two.sum_dim(1).reshape([tokens, groups]);
        let chosen = B::top_k(group_scores, kept);

        let open = Tensor::<B, 2>::zeros([tokens, groups], &choice.device()).scatter(
            1,
            chosen,
            Tensor::ones([tokens, kept], &choice.device()),
            burn::tensor::IndexingUpdateOp::Add,
        );
        let closed = open
            .equal_elem(0.0)
            .reshape([tokens, groups, 1])
            .expand([tokens, groups, members])
            .reshape([tokens, experts]);
        choice.mask_fill(closed, EXCLUDED)
    }
}

impl<B: Ops> Route<B> for Router<B> {
    /// Routes every token to `num_experts_per_tok` experts, in f32 whatever the model's dtype.
    ///
    /// Bias and prior take part in the choice only: gates come from the affinities alone.
    fn route(&self, hidden: Tensor<B, 2>, prior: Option<Tensor<B, 2>>) -> Routing<B> {
        // bf16 cannot hold bias steps of 1e-3 near 1.0
        let logits = B::project(
            hidden.cast(DType::F32),
            self.gate.weight.val().cast(DType::F32),
        );
        let scores = match self.config.scoring_func {
            ScoringFunc::Sigmoid => sigmoid(logits),
            ScoringFunc::Softmax => softmax(logits, 1),
        };
        let mut choice = scores.clone().detach()
            + self
                .e_score_correction_bias
                .val()
                .cast(DType::F32)
                .unsqueeze();
        if let Some(prior) = prior {
            choice = choice + prior;
        }
        let indices = B::top_k(self.limit_to_groups(choice), self.num_experts_per_tok);

        let gates = scores.clone().gather(1, indices.clone());
        let weights = match self.config.norm_topk_prob {
            true => gates.clone() / (gates.sum_dim(1) + 1e-20),
            false => gates,
        };
        Routing {
            weights: weights.mul_scalar(self.config.routed_scaling_factor),
            indices,
            scores,
        }
    }

    fn balance_bias(&self) -> Option<Tensor<B, 1>> {
        Some(self.e_score_correction_bias.val())
    }

    fn with_balance_bias(mut self, bias: Tensor<B, 1>) -> Self {
        self.e_score_correction_bias = self
            .e_score_correction_bias
            .map(|_| bias.detach().set_require_grad(false));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matrix::Matrix;
    use crate::model::{CausalLm, ModelConfig, Sequences};
    use burn::module::Module;
    use burn::tensor::{Int, TensorData};
    use darkhorse_backends::select::Selected;

    type B = Selected;

    fn mixtral() -> ModelConfig {
        let json = r#"{
            "vocab_size": 11, "hidden_size": 3, "num_hidden_layers": 2, "intermediate_size": 5,
            "first_k_dense_replace": 0, "max_position_embeddings": 16, "layer_types": ["gqa"],
            "mixer": {"gqa": {
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4
            }},
            "rope": {},
            "moe": {
                "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 5,
                "router": {"scoring_func": "softmax"}
            },
            "domains": {"mode": "off"}
        }"#;
        serde_json::from_str(json).unwrap()
    }

    /// The centroids choose coordinates: the logits of a token are written down in it.
    #[test]
    fn softmax_gates_are_those_of_all_experts_renormalized_over_the_chosen() {
        let device = Default::default();
        let config = mixtral();
        let mut router = Router::<B>::init(&Initializers::new(&config, 0), &device);
        let centroids = [
            [1.0f32, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let weight = Tensor::from_floats(centroids, &device);
        router.gate.weight = Matrix::Dense(Param::from_tensor(weight));

        let tokens = Tensor::<B, 2>::from_floats([[1.0, -1.0, 3.0], [-2.0, 0.5, -3.0]], &device);
        let routing = router.route(tokens, None);

        let chosen = routing.indices.into_data();
        assert_eq!(chosen.iter::<i64>().collect::<Vec<_>>(), [2, 0, 1, 3]);
        let share = |a: f64, b: f64| a.exp() / (a.exp() + b.exp());
        let gates = [
            share(3.0, 1.0),
            share(1.0, 3.0),
            share(0.5, 0.0),
            share(0.0, 0.5),
        ];
        for (gate, expected) in routing.weights.into_data().iter::<f64>().zip(gates) {
            assert!(
                (gate - expected).abs() < 1e-6,
                "{gate}, expected {expected}"
            );
        }
        let sums = routing.scores.sum_dim(1).into_data();
        assert!(sums.iter::<f64>().all(|sum| (sum - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_model_may_route_from_its_first_layer_and_share_no_expert() {
        let device = Default::default();
        let config = mixtral();
        config.validate().unwrap();
        let model = CausalLm::<B>::init(&config, 1, &device);
        assert_eq!(
            model.num_params() as u64,
            config.num_params() + 2 * 4,
            "beside the weights there are the biases of two routers"
        );
        let ids = TensorData::new(vec![1i64, 9, 4, 4], [1, 4]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &device);
        let hidden = model.hidden(&Sequences::plain(ids));
        assert_eq!(hidden.routings.len(), 2);
        let states = hidden.states.into_data();
        assert!(states.iter::<f32>().all(f32::is_finite));
    }
}
