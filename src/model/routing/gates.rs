//! Gates: the factors of the chosen experts' outputs.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::config::RouterConfig;
use crate::model::error::ModelConfigError;

/// Function from affinities to the gates of the chosen slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRule {
    /// The affinity, normalized over the chosen slots if `norm_topk_prob` is set, times `routed_scaling_factor`.
    #[default]
    Affinity,
    /// `1 + s_e u_e`, where `s_e` is the affinity and `u_e` a trained scale per expert that begins at 0 (CMoE,
    /// <https://arxiv.org/abs/2502.04416>). Experts that partition a dense feed-forward then sum to it.
    UnitScale,
}

impl GateRule {
    /// A unit scale is neither normalized nor scaled, and null experts have none.
    pub(super) fn validate(self, router: &RouterConfig) -> Result<(), ModelConfigError> {
        let needed = match self {
            Self::Affinity => return Ok(()),
            Self::UnitScale if router.norm_topk_prob => {
                "`norm_topk_prob` false: gates near 1 are not normalized to sum to one"
            }
            Self::UnitScale if router.routed_scaling_factor != 1.0 => {
                "`routed_scaling_factor` 1: every expert has a scale of its own"
            }
            Self::UnitScale if router.null_experts > 0 => {
                "`null_experts` 0: a null expert has no scale"
            }
            Self::UnitScale => return Ok(()),
        };
        Err(ModelConfigError::Needs {
            field: "gate".into(),
            needed,
        })
    }
}

/// `1 + s_e u_e` of the chosen experts.
///
/// # Shapes
///
/// - affinities: those of the chosen experts, `[tokens, k]`; scale: `[experts]`; indices, output: `[tokens, k]`
pub(super) fn unit_scale<B: Backend>(
    affinities: Tensor<B, 2>,
    scale: Tensor<B, 1>,
    indices: Tensor<B, 2, Int>,
) -> Tensor<B, 2> {
    let dims = indices.dims();
    let chosen = scale.select(0, indices.reshape([dims[0] * dims[1]]));
    (affinities * chosen.reshape(dims)).add_scalar(1.0)
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use burn::module::Param;
    use burn::tensor::TensorData;
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::model::init::Initializers;
    use crate::model::routing::{Route, Router, Surroundings};
    use crate::model::{CausalLm, ModelConfig};

    type B = Autodiff<Selected>;

    fn config(router: serde_json::Value) -> ModelConfig {
        let json = serde_json::json!({
            "vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8,
            "max_position_embeddings": 16, "layer_types": ["gqa"], "rope": {}, "initializer_range": 0.5,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "moe": {
                "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 3, "router": router
            },
            "domains": {"mode": "off"}
        });
        serde_json::from_value(json).unwrap()
    }

    fn unit() -> ModelConfig {
        let router = serde_json::json!({
            "norm_topk_prob": false, "gate": "unit_scale", "intercept": true
        });
        config(router)
    }

    fn tokens() -> Tensor<B, 2> {
        let values: Vec<f32> = (0..20)
            .map(|it| ((it * 7) % 11) as f32 / 5.0 - 1.0)
            .collect();
        Tensor::from_data(TensorData::new(values, [5, 4]), &Default::default())
    }

    fn router() -> Router<B> {
        let config = unit();
        config.validate().unwrap();
        Router::init(&Initializers::new(&config, 3), &Default::default())
    }

    #[test]
    fn gates_of_a_new_unit_scale_are_one_and_then_follow_the_affinity() {
        let mut router = router();
        let routing = router.route(tokens(), &Surroundings::default());
        assert!(
            routing
                .weights
                .into_data()
                .iter::<f32>()
                .all(|gate| gate == 1.0)
        );
        let scale = [0.5f32, -0.5, 1.0, 2.0, -1.0, 0.25];
        let tensor = Tensor::from_floats(scale, &Default::default());
        router.unit_scale = Some(Param::from_tensor(tensor));
        let routing = router.route(tokens(), &Surroundings::default());
        let chosen: Vec<i64> = routing.indices.into_data().iter().collect();
        let affinities: Vec<f32> = routing.affinities.into_data().iter().collect();
        for (at, gate) in routing.weights.into_data().iter::<f32>().enumerate() {
            let expert = chosen[at] as usize;
            let expected = 1.0 + affinities[at / 2 * 6 + expert] * scale[expert];
            assert!(
                (gate - expected).abs() < 1e-6,
                "{gate}, expected {expected}"
            );
        }
    }

    #[test]
    fn the_intercept_raises_an_expert_and_both_parameters_are_trained() {
        let mut router = router();
        let raised = Tensor::from_floats([0.0, 0.0, 0.0, 0.0, 9.0, 0.0], &Default::default());
        router.gate.bias = Some(Param::from_tensor(raised));
        let routing = router.route(tokens(), &Surroundings::default());
        let chosen: Vec<i64> = routing.indices.into_data().iter().collect();
        assert!(
            chosen.chunks(2).all(|of_token| of_token[0] == 4),
            "{chosen:?}"
        );

        // the gates depend on the intercept only through a scale that is not 0
        let scale = Tensor::<B, 1>::full([6], 0.5, &Default::default());
        router.unit_scale = Some(Param::from_tensor(scale));
        let routing = router.route(tokens(), &Surroundings::default());
        let gradients = routing.weights.sum().backward();
        let scale = router.unit_scale.as_ref().unwrap().val();
        let bias = router.gate.bias.as_ref().unwrap().val();
        for parameter in [scale, bias] {
            let gradient = parameter.grad(&gradients).unwrap().into_data();
            let size: f32 = gradient.iter::<f32>().map(f32::abs).sum();
            assert!(size > 0.0, "{gradient:?}");
        }
    }

    #[test]
    fn a_unit_scale_that_would_be_normalized_is_refused() {
        for (key, value) in [
            ("norm_topk_prob", serde_json::json!(true)),
            ("routed_scaling_factor", serde_json::json!(2.0)),
        ] {
            let mut router = serde_json::json!({"norm_topk_prob": false, "gate": "unit_scale"});
            router[key] = value;
            let refused = config(router).validate().unwrap_err().to_string();
            assert!(refused.contains("`moe.router.gate`"), "{refused}");
            assert!(refused.contains(&format!("`{key}`")), "{refused}");
        }
        let null = serde_json::json!({
            "norm_topk_prob": false, "gate": "unit_scale", "null_experts": 2, "k_target": 1.5
        });
        let refused = config(null).validate().unwrap_err().to_string();
        assert!(refused.contains("`null_experts` 0"), "{refused}");
    }

    #[test]
    fn the_parameters_are_counted_and_named() {
        let config = unit();
        let model = CausalLm::<Selected>::init(&config, 0, &Default::default());
        let names: Vec<String> = crate::model::weights::collect(&model)
            .into_iter()
            .map(|it| it.name)
            .collect();
        for name in ["gate.bias", "unit_scale"] {
            let name = format!("layers.0.feed_forward.router.{name}");
            assert!(names.contains(&name), "{names:?}");
        }
        let built = burn::module::Module::num_params(&model) as u64;
        // the bias of the choice is not trained, so it does not count
        assert_eq!(config.num_params() + 6, built);
    }
}
