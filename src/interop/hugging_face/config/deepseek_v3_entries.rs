//! A `deepseek_v3` configuration as every engine reads it.

use serde_json::json;

use super::{DeepseekV3Config, Entries, RopeLayout};

impl DeepseekV3Config {
    /// Groups as engines want them: one group rather than a choice of all.
    pub(super) fn groups(&self) -> (usize, usize) {
        match self.topk_group == self.n_group {
            true => (1, 1),
            false => (self.n_group, self.topk_group),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let (n_group, topk_group) = self.groups();
        let heads = self.decoder.num_attention_heads;
        let mut family: Entries = vec![
            ("attention_bias", json!(self.attention_bias)),
            ("moe_intermediate_size", json!(self.moe_intermediate_size)),
            ("num_key_value_heads", json!(heads)),
            ("n_shared_experts", json!(self.n_shared_experts)),
            ("n_routed_experts", json!(self.n_routed_experts)),
            ("num_experts_per_tok", json!(self.num_experts_per_tok)),
            ("n_group", json!(n_group)),
            ("topk_group", json!(topk_group)),
            // engines take a softmax without a bias where these two are absent
            ("topk_method", json!("noaux_tc")),
            ("scoring_func", json!("sigmoid")),
            ("norm_topk_prob", json!(self.norm_topk_prob)),
            ("routed_scaling_factor", json!(self.routed_scaling_factor)),
            ("moe_layer_freq", json!(1)),
            ("first_k_dense_replace", json!(self.first_k_dense_replace)),
            (
                "num_nextn_predict_layers",
                json!(self.num_nextn_predict_layers),
            ),
            ("kv_lora_rank", json!(self.kv_lora_rank)),
            ("q_lora_rank", json!(self.q_lora_rank)),
            ("qk_rope_head_dim", json!(self.qk_rope_head_dim)),
            ("qk_nope_head_dim", json!(self.qk_nope_head_dim)),
            ("v_head_dim", json!(self.v_head_dim)),
        ];
        if self.rope_layout == RopeLayout::HalfSplit {
            family.push(("rope_interleave", json!(false)));
        }
        let name = ("deepseek_v3", "DeepseekV3ForCausalLM");
        self.decoder.entries(name, "type", family)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::HfConfig;
    use crate::interop::hugging_face::FIXTURES;

    #[test]
    fn what_engines_assume_when_it_is_absent_is_written() {
        let path = Path::new(FIXTURES).join("deepseek_v3_yarn/config.transformers5.json");
        let mut config = HfConfig::open(&path).unwrap();
        if let HfConfig::DeepseekV3(config) = &mut config {
            config.topk_group = config.n_group;
        }
        let json = config.to_json();
        assert_eq!(json["scoring_func"], "sigmoid");
        assert_eq!(json["topk_method"], "noaux_tc");
        assert_eq!(json["rope_theta"], 10_000.0);
        assert_eq!(json["rope_scaling"]["type"], "yarn");
        assert_eq!(json["num_nextn_predict_layers"], 0);
        assert_eq!(
            (&json["n_group"], &json["topk_group"]),
            (&1.into(), &1.into())
        );
        let keys = json.as_object().unwrap().keys().take(3).collect::<Vec<_>>();
        assert_eq!(keys, ["architectures", "model_type", "attention_dropout"]);
    }
}
