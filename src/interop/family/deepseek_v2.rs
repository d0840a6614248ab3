//! DeepSeek-V2: latent attention, softmax-routed experts whose gates are not normalized
//! (<https://arxiv.org/abs/2405.04434>).

use serde_json::Value;

use super::{Family, Gguf, Profile, experts};
use crate::interop::InteropError;
use crate::interop::gguf::Keys;
use crate::interop::hugging_face::{ConfigKeys, HfConfig};
use crate::model::ModelConfig;
use crate::model::rope::RotaryPairs;
use crate::model::routing::{GroupScore, ScoringFunc};

#[derive(Debug)]
pub(super) struct DeepseekV2;

impl Family for DeepseekV2 {
    fn profile(&self) -> Profile {
        Profile {
            name: "DeepSeek-V2",
            model_type: "deepseek_v2",
            architecture: "DeepseekV2ForCausalLM",
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (Some(1), Some(2)),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "deepseek2",
                pairs: RotaryPairs::Neighbours,
                keys: &[
                    "leading_dense_block_count",
                    "expert_feed_forward_length",
                    "expert_shared_count",
                    "expert_weights_scale",
                ],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        keys.only("scoring_func", "softmax")?;
        keys.only("moe_layer_freq", 1)?;
        keys.latent_attention(model)?;
        let dense = &mut model.first_k_dense_replace;
        keys.count_or("first_k_dense_replace", dense, 0)?;
        *dense = model.num_hidden_layers.min(*dense);
        let moe = experts(model, ScoringFunc::Softmax);
        keys.size_or(
            "moe_intermediate_size",
            &mut moe.moe_intermediate_size,
            1407,
        )?;
        keys.count_or("n_shared_experts", &mut moe.n_shared_experts, 2)?;
        let all = &mut moe.n_routed_experts;
        keys.experts_or(["n_routed_experts", "num_experts"], all, 64)?;
        keys.size("num_experts_per_tok", &mut moe.num_experts_per_tok)?;
        moe.router.group_score = GroupScore::Best;
        keys.expert_groups(moe, (1, 1))?;
        let router = &mut moe.router;
        let (plain, limited) = ("greedy", "group_limited_greedy");
        if let Some(fields) = keys.reading() {
            let key = "topk_method";
            match fields.value(key).map(Value::as_str) {
                // transformers ignores groups with this method, even if the file states them
                None | Some(Some("greedy")) => (router.n_group, router.topk_group) = (1, 1),
                Some(Some("group_limited_greedy")) => {}
                _ => return Err(fields.error(key, format!("{plain} or {limited}"))),
            }
        }
        let method = if router.n_group > 1 { limited } else { plain };
        keys.writes("topk_method", method);
        let scale = &mut router.routed_scaling_factor;
        keys.positive_or("routed_scaling_factor", scale, 1.0)?;
        // transformers does not normalize the gates whatever this says, DeepSeek's own code does
        router.norm_topk_prob = false;
        keys.only("norm_topk_prob", false)?;
        keys.only("mlp_bias", false)?;
        // latent attention has no biases in this crate
        keys.only("attention_bias", false)
    }

    /// DeepSeek-V3 has the same architecture in llama.cpp, with sigmoid scores.
    fn fits_gguf(&self, keys: &Keys<'_>) -> Result<Option<bool>, InteropError> {
        if !matches!(keys.optional_count("expert_gating_func")?, None | Some(1)) {
            return Ok(Some(false));
        }
        let key = "expert_group_count";
        match keys.optional_count(key)? {
            None | Some(0 | 1) => Ok(Some(true)),
            Some(groups) => {
                let expected =
                    "1: llama.cpp ranks groups by their two best experts, DeepSeek-V2 by the best";
                Err(keys.error(key, groups.to_string(), expected))
            }
        }
    }

    /// llama.cpp ranks groups differently, so only models without groups are written.
    fn in_gguf(&self, model: &mut ModelConfig) {
        let router = &mut experts(model, ScoringFunc::Softmax).router;
        (router.n_group, router.topk_group) = (1, 1);
    }
}
