//! Configuration of the `deepseek_v3` family.

use serde_json::json;

use super::RopeLayout;
use super::decoder::{DecoderConfig, Defaults};
use super::fields::Fields;
use crate::interop::InteropError;

/// What transformers and DeepSeek's own code add to the mean square in `q_a_layernorm` and
/// `kv_a_layernorm`, whatever `rms_norm_eps` is.
pub const LATENT_NORM_EPS: f64 = 1e-6;

/// A decoder with latent attention and sigmoid-routed experts (<https://arxiv.org/abs/2412.19437>).
#[derive(Debug, Clone, PartialEq)]
pub struct DeepseekV3Config {
    /// What all families have.
    pub decoder: DecoderConfig,
    /// Width of one expert.
    pub moe_intermediate_size: usize,
    /// Number of experts that every token visits.
    pub n_shared_experts: usize,
    /// Number of routed experts of a layer.
    pub n_routed_experts: usize,
    /// Number of routed experts that each token visits.
    pub num_experts_per_tok: usize,
    /// Number of groups that experts are divided into, in index order.
    pub n_group: usize,
    /// Number of groups a token may choose experts from.
    pub topk_group: usize,
    /// Whether the gates of a token are normalized to sum to one.
    pub norm_topk_prob: bool,
    /// Factor applied to the gates.
    pub routed_scaling_factor: f64,
    /// Number of leading layers with a dense feed-forward.
    pub first_k_dense_replace: usize,
    /// Number of multi-token prediction modules.
    pub num_nextn_predict_layers: usize,
    /// Width of the key-value latent.
    pub kv_lora_rank: usize,
    /// Width of the query latent; none: queries come straight from the residual stream.
    pub q_lora_rank: Option<usize>,
    /// Head width with rotary position.
    pub qk_rope_head_dim: usize,
    /// Head width without position.
    pub qk_nope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Layout of the rotated rows, `rope_interleave` in the file.
    pub rope_layout: RopeLayout,
    /// Whether `q_a_proj`, `kv_a_proj_with_mqa` and `o_proj` have biases.
    pub attention_bias: bool,
}

impl DeepseekV3Config {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, InteropError> {
        fields.only("scoring_func", json!("sigmoid"))?;
        fields.only("topk_method", json!("noaux_tc"))?;
        fields.only("moe_layer_freq", json!(1))?;
        let decoder = DecoderConfig::parse(
            fields,
            Defaults {
                max_position_embeddings: 4096,
                rms_norm_eps: 1e-6,
                rope_theta: 10_000.0,
                bos_eos: (0, 1),
            },
        )?;
        fields.only("num_key_value_heads", json!(decoder.num_attention_heads))?;
        let this = Self {
            moe_intermediate_size: fields.size("moe_intermediate_size")?,
            n_shared_experts: match fields.has("n_shared_experts") {
                true => fields.count_or("n_shared_experts", 0)?,
                false => 1,
            },
            n_routed_experts: fields.size("n_routed_experts")?,
            num_experts_per_tok: fields.size("num_experts_per_tok")?,
            n_group: fields.size_or("n_group", 8)?,
            topk_group: fields.size_or("topk_group", 4)?,
            norm_topk_prob: fields.flag_or("norm_topk_prob", true)?,
            routed_scaling_factor: fields.positive_or("routed_scaling_factor", 2.5)?,
            // transformers presumes three, of a model with two layers too
            first_k_dense_replace: fields
                .count_or("first_k_dense_replace", 3)?
                .min(decoder.num_hidden_layers),
            // transformers presumes one here, but a file without the key holds none
            num_nextn_predict_layers: fields.count_or(
                "num_nextn_predict_layers",
                fields.count_or("num_mtp_layers", 0)?,
            )?,
            kv_lora_rank: fields.size("kv_lora_rank")?,
            q_lora_rank: match fields.has("q_lora_rank") {
                true => fields.number("q_lora_rank", 1)?,
                false => Some(1536),
            },
            qk_rope_head_dim: fields.size("qk_rope_head_dim")?,
            qk_nope_head_dim: fields.size("qk_nope_head_dim")?,
            v_head_dim: fields.size("v_head_dim")?,
            rope_layout: match fields.flag_or("rope_interleave", true)? {
                true => RopeLayout::Interleaved,
                false => RopeLayout::HalfSplit,
            },
            attention_bias: fields.flag_or("attention_bias", false)?,
            decoder,
        };
        this.check(fields)?;
        let (n_group, topk_group) = this.groups();
        Ok(Self {
            n_group,
            topk_group,
            ..this
        })
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), InteropError> {
        let experts = self.n_routed_experts;
        if !self.qk_rope_head_dim.is_multiple_of(2) {
            return Err(fields.error("qk_rope_head_dim", "an even number"));
        }
        if !experts.is_multiple_of(self.n_group) || (self.n_group > 1 && experts < 2 * self.n_group)
        {
            let expected = format!("groups of equal size, 2 or more, of {experts} experts");
            return Err(fields.error("n_group", expected));
        }
        if self.topk_group > self.n_group {
            return Err(fields.error("topk_group", format!("1 to n_group ({})", self.n_group)));
        }
        let reachable = experts / self.n_group * self.topk_group;
        if self.num_experts_per_tok > reachable {
            let expected = format!("1 to {reachable}, the experts of the chosen groups");
            return Err(fields.error("num_experts_per_tok", expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::DeepseekV3Config;
    use crate::interop::hugging_face::{FIXTURES, HfConfig};

    /// The configuration of a fixture with some keys changed, or removed where the value is null.
    fn parse(changes: &Value) -> Result<DeepseekV3Config, String> {
        let path = Path::new(FIXTURES).join("deepseek_v3_yarn/config.json");
        let mut json: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            json.as_object_mut().unwrap().remove(key);
            if !value.is_null() {
                json[key] = value.clone();
            }
        }
        match HfConfig::parse(Path::new("c"), &json.to_string()) {
            Ok(HfConfig::DeepseekV3(config)) => Ok(config),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn absent_keys_have_defaults() {
        let absent = json!({"n_group": null, "topk_group": null, "n_shared_experts": null,
            "norm_topk_prob": null, "routed_scaling_factor": null, "first_k_dense_replace": null,
            "q_lora_rank": null, "num_nextn_predict_layers": null, "scoring_func": null,
            "rope_theta": null, "num_key_value_heads": null});
        let config = parse(&absent).unwrap();
        assert_eq!((config.n_group, config.topk_group), (8, 4));
        assert_eq!(
            (config.n_shared_experts, config.first_k_dense_replace),
            (1, 3)
        );
        assert_eq!(
            (config.q_lora_rank, config.num_nextn_predict_layers),
            (Some(1536), 0)
        );
        assert_eq!(
            (config.routed_scaling_factor, config.norm_topk_prob),
            (2.5, true)
        );
        let shallow = parse(&json!({"first_k_dense_replace": null, "num_hidden_layers": 2}));
        assert_eq!(shallow.unwrap().first_k_dense_replace, 2);
        let all = parse(&json!({"n_group": 4, "topk_group": 4})).unwrap();
        assert_eq!((all.n_group, all.topk_group), (1, 1));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            (
                json!({"scoring_func": "softmax"}),
                "`scoring_func` is \"softmax\", expected \"sigmoid\"",
            ),
            (
                json!({"topk_method": "greedy"}),
                "`topk_method` is \"greedy\", expected \"noaux_tc\"",
            ),
            (
                json!({"moe_layer_freq": 2}),
                "`moe_layer_freq` is 2, expected 1",
            ),
            (
                json!({"num_key_value_heads": 2}),
                "`num_key_value_heads` is 2, expected 4",
            ),
            (json!({"kv_lora_rank": null}), "`kv_lora_rank` is absent"),
            (
                json!({"qk_rope_head_dim": 15}),
                "`qk_rope_head_dim` is 15, expected an even number",
            ),
            (
                json!({"n_group": 3}),
                "`n_group` is 3, expected groups of equal size",
            ),
            (
                json!({"n_group": 16}),
                "`n_group` is 16, expected groups of equal size, 2 or more",
            ),
            (
                json!({"topk_group": 5}),
                "`topk_group` is 5, expected 1 to n_group (4)",
            ),
            (
                json!({"num_experts_per_tok": 9}),
                "`num_experts_per_tok` is 9, expected 1 to 8",
            ),
            (
                json!({"rope_interleave": "no"}),
                "`rope_interleave` is \"no\", expected true or false",
            ),
        ];
        for (changes, message) in cases {
            let error = parse(&changes).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
