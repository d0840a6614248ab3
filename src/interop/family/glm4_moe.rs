//! GLM-4.5 and GLM-4.6: grouped-query attention with biases on queries, keys and values and partly rotated heads,
//! sigmoid-routed experts (<https://arxiv.org/abs/2508.06471>).

use super::{Family, Gguf, Profile, experts};
use crate::interop::InteropError;
use crate::interop::gguf::Keys;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::ModelConfig;
use crate::model::mixer::gqa::Biased;
use crate::model::rope::RotaryPairs;
use crate::model::routing::ScoringFunc;

#[derive(Debug)]
pub(super) struct Glm4Moe;

impl Family for Glm4Moe {
    fn profile(&self) -> Profile {
        Profile {
            name: "GLM-4-MoE",
            model_type: "glm4_moe",
            architecture: "Glm4MoeForCausalLM",
            max_position_embeddings: 131_072,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "glm4moe",
                pairs: RotaryPairs::Halves,
                keys: &[
                    "leading_dense_block_count",
                    "expert_feed_forward_length",
                    "expert_shared_count",
                    "expert_weights_scale",
                    "expert_weights_norm",
                    "expert_gating_func",
                ],
                names: &[("post_attention_layernorm", "post_attention_norm")],
                optional: &["attn_q_norm"],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let heads = HeadDefaults {
            key_value: Some(8),
            dim: None,
        };
        let gqa = keys.grouped_query(model, heads)?;
        gqa.biased = Biased::Inputs;
        keys.flag_or("attention_bias", &mut gqa.attention_bias, false)?;
        keys.flag_or("use_qk_norm", &mut gqa.qk_norm, false)?;
        let mut turned = gqa.rotary_dim.unwrap_or(gqa.head_dim);
        keys.partial_rotary(&mut turned, gqa.head_dim, 0.5)?;
        gqa.rotary_dim = Some(turned);
        let moe = experts(model, ScoringFunc::Sigmoid);
        keys.size_or(
            "moe_intermediate_size",
            &mut moe.moe_intermediate_size,
            1408,
        )?;
        keys.count_or("n_shared_experts", &mut moe.n_shared_experts, 1)?;
        let all = &mut moe.n_routed_experts;
        keys.experts_or(["n_routed_experts", "num_local_experts"], all, 128)?;
        keys.size_or("num_experts_per_tok", &mut moe.num_experts_per_tok, 8)?;
        keys.expert_groups(moe, (1, 1))?;
        let router = &mut moe.router;
        keys.flag_or("norm_topk_prob", &mut router.norm_topk_prob, true)?;
        let scale = &mut router.routed_scaling_factor;
        keys.positive_or("routed_scaling_factor", scale, 1.0)?;
        let dense = &mut model.first_k_dense_replace;
        keys.count_or("first_k_dense_replace", dense, 1)?;
        *dense = model.num_hidden_layers.min(*dense);
        // transformers' default is one module, but a file without the key has none
        let modules = match keys.reading() {
            Some(fields) => fields.count_or("num_mtp_layers", 0)?,
            None => 0,
        };
        let key = "num_nextn_predict_layers";
        keys.count_or(key, &mut model.num_nextn_predict_layers, modules)
    }

    fn fits_gguf(&self, keys: &Keys<'_>) -> Result<Option<bool>, InteropError> {
        let scores = keys.optional_count("expert_gating_func")?;
        Ok(Some(matches!(scores, None | Some(2))))
    }

    /// In llama.cpp, a missing key means sigmoid scores for this family, and there are no groups.
    fn in_gguf(&self, model: &mut ModelConfig) {
        let router = &mut experts(model, ScoringFunc::Sigmoid).router;
        router.scoring_func = ScoringFunc::Sigmoid;
        (router.n_group, router.topk_group) = (1, 1);
    }
}
