//! DeepSeek-V3: latent attention, sigmoid-routed experts (<https://arxiv.org/abs/2412.19437>).

use super::{Family, Gguf, Profile, experts};
use crate::interop::InteropError;
use crate::interop::gguf::Keys;
use crate::interop::hugging_face::{ConfigKeys, HfConfig, LATENT_NORM_EPS};
use crate::model::mixer::mla::MlaConfig;
use crate::model::rope::{RopeScaling, RotaryPairs};
use crate::model::routing::ScoringFunc;

#[derive(Debug)]
pub(super) struct DeepseekV3;

impl Family for DeepseekV3 {
    fn profile(&self) -> Profile {
        Profile {
            name: "DeepSeek-V3",
            model_type: "deepseek_v3",
            architecture: "DeepseekV3ForCausalLM",
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (Some(0), Some(1)),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "deepseek2",
                pairs: RotaryPairs::Neighbours,
                keys: &[
                    "expert_group_count",
                    "expert_group_used_count",
                    "expert_gating_func",
                    "leading_dense_block_count",
                    "expert_feed_forward_length",
                    "expert_shared_count",
                    "expert_weights_scale",
                    "expert_weights_norm",
                ],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        // without these two keys, other engines use a softmax without a bias
        keys.only("scoring_func", "sigmoid")?;
        keys.only("topk_method", "noaux_tc")?;
        keys.only("moe_layer_freq", 1)?;
        keys.latent_attention(model)?;
        let moe = experts(model, ScoringFunc::Sigmoid);
        keys.size("moe_intermediate_size", &mut moe.moe_intermediate_size)?;
        // null means none
        let is_null = keys.reading().is_some_and(|it| it.has("n_shared_experts"));
        let shared = usize::from(!is_null);
        keys.count_or("n_shared_experts", &mut moe.n_shared_experts, shared)?;
        keys.size("n_routed_experts", &mut moe.n_routed_experts)?;
        keys.size("num_experts_per_tok", &mut moe.num_experts_per_tok)?;
        keys.expert_groups(moe, (8, 4))?;
        let router = &mut moe.router;
        keys.flag_or("norm_topk_prob", &mut router.norm_topk_prob, true)?;
        let scale = &mut router.routed_scaling_factor;
        keys.positive_or("routed_scaling_factor", scale, 2.5)?;
        let dense = &mut model.first_k_dense_replace;
        keys.count_or("first_k_dense_replace", dense, 3)?;
        // transformers' default is three, even for a model of two layers
        *dense = model.num_hidden_layers.min(*dense);
        // transformers' default is one module, but a file without the key has none
        let modules = match keys.reading() {
            Some(fields) => fields.count_or("num_mtp_layers", 0)?,
            None => 0,
        };
        let key = "num_nextn_predict_layers";
        keys.count_or(key, &mut model.num_nextn_predict_layers, modules)?;
        if let Some(fields) = keys.reading()
            && !fields.flag_or("rope_interleave", true)?
        {
            config.latent_pairs = RotaryPairs::Halves;
        }
        if config.latent_pairs == RotaryPairs::Halves {
            keys.writes("rope_interleave", false);
        }
        // latent attention has no biases in this crate
        keys.only("attention_bias", false)
    }

    /// DeepSeek-V2 has the same architecture in llama.cpp, with softmax scores.
    fn fits_gguf(&self, keys: &Keys<'_>) -> Result<Option<bool>, InteropError> {
        Ok(Some(keys.optional_count("expert_gating_func")? == Some(2)))
    }

    fn limits(&self, config: &HfConfig) -> Vec<String> {
        let model = &config.model;
        // numbers of layers by which llama.cpp recognizes models without a query latent
        let lite = matches!(model.num_hidden_layers, 26 | 27)
            || (model.num_hidden_layers, model.vocab_size) == (48, 128_256);
        let has_query_latent = |it: &MlaConfig| it.q_lora_rank.is_some();
        let yarn = match &model.rope.rope_scaling {
            Some(RopeScaling::Yarn(yarn)) => Some(yarn),
            _ => None,
        };
        let limits = [
            (
                config.latent_pairs == RotaryPairs::Halves,
                "`rope_interleave` is false: vLLM, SGLang and llama.cpp rotate neighbours all the same",
            ),
            (
                model.rms_norm_eps != LATENT_NORM_EPS,
                "`rms_norm_eps` is not 1e-6: transformers keeps 1e-6 in the norms of the latents, vLLM and llama.cpp do not",
            ),
            (
                !model.mixer.mla.as_ref().is_some_and(has_query_latent) && !lite,
                "`q_lora_rank` is null: llama.cpp loads that only with 26 or 27 layers",
            ),
            (
                model.num_nextn_predict_layers > 1,
                "`num_nextn_predict_layers` is above 1: SGLang refuses that",
            ),
            (
                yarn.is_some_and(|it| it.mscale != it.mscale_all_dim),
                "`mscale` differs from `mscale_all_dim`: GGUF has one number for both",
            ),
            (
                yarn.is_some_and(|it| (it.beta_fast, it.beta_slow) != (32.0, 1.0)),
                "`beta_fast` and `beta_slow` are not 32 and 1: llama.cpp takes these unless told by `--yarn-beta-fast` and `--yarn-beta-slow`",
            ),
        ];
        let holding = limits.into_iter().filter(|(holds, _)| *holds);
        holding.map(|(_, text)| text.to_owned()).collect()
    }
}
