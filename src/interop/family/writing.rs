//! The configuration of another format that describes a model here.

use safetensors::Dtype;

use crate::interop::InteropError;
use crate::interop::hugging_face::{
    DecoderConfig, DeepseekV3Config, HfConfig, HfRope, HfRopeScaling, LATENT_NORM_EPS,
    LinearScaling, Llama3Scaling, LlamaConfig, MixtralConfig, RopeLayout, TokenIds, YarnScaling,
};
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::MixerKind;
use crate::model::mixer::gqa::GqaConfig;
use crate::model::mixer::mla::MlaConfig;
use crate::model::rope::{RopeConfig, RopeScaling};
use crate::model::routing::ScoringFunc;
use crate::model::routing::cosine::Similarity;

/// What a `config.json` says beside the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras {
    /// Special tokens.
    pub token_ids: TokenIds,
    /// Element type of the weights.
    pub dtype: Option<Dtype>,
}

/// The `config.json` of the family that a model belongs to, as every engine accepts it.
///
/// # Errors
///
/// [`InteropError::NoFamily`] for a model that no family describes.
pub fn hf_config(model: &ModelConfig, extras: Extras) -> Result<HfConfig, InteropError> {
    let all = |kind: MixerKind| model.layer_types.iter().all(|&it| it == kind);
    match (&model.mixer.mla, &model.mixer.gqa, &model.moe) {
        (Some(mla), _, Some(moe)) if all(MixerKind::Mla) => deepseek_v3(model, mla, moe, extras),
        (Some(_), _, None) if all(MixerKind::Mla) => {
            Err(no_family("latent attention goes with routed experts"))
        }
        (_, Some(gqa), _) if all(MixerKind::Gqa) && !gqa.is_plain() => Err(no_family(
            "Llama and Mixtral have no `qk_norm`, no `output_gate` and no partly rotated heads",
        )),
        (_, Some(gqa), None) if all(MixerKind::Gqa) => llama(model, gqa, extras),
        (_, Some(gqa), Some(moe)) if all(MixerKind::Gqa) => mixtral(model, gqa, moe, extras),
        _ => Err(no_family("its layers have mixers of several kinds")),
    }
}

fn no_family(reason: &str) -> InteropError {
    InteropError::NoFamily {
        reason: reason.into(),
    }
}

fn decoder(model: &ModelConfig, num_attention_heads: usize, extras: Extras) -> DecoderConfig {
    DecoderConfig {
        vocab_size: model.vocab_size,
        hidden_size: model.hidden_size,
        intermediate_size: model.intermediate_size,
        num_hidden_layers: model.num_hidden_layers,
        num_attention_heads,
        max_position_embeddings: model.max_position_embeddings,
        rms_norm_eps: model.rms_norm_eps,
        rope: rope(&model.rope),
        tie_word_embeddings: model.tie_word_embeddings,
        initializer_range: model.initializer_range,
        token_ids: extras.token_ids,
        dtype: extras.dtype,
        quantization: None,
    }
}

fn llama(model: &ModelConfig, gqa: &GqaConfig, extras: Extras) -> Result<HfConfig, InteropError> {
    if gqa.sliding_window.is_some() {
        return Err(no_family("Llama has no sliding window"));
    }
    let decoder = decoder(model, gqa.num_attention_heads, extras);
    Ok(HfConfig::Llama(LlamaConfig {
        decoder,
        num_key_value_heads: gqa.num_key_value_heads,
        head_dim: gqa.head_dim,
        attention_bias: gqa.attention_bias,
        mlp_bias: model.mlp_bias,
    }))
}

/// Refuses a router with parts that no other engine has.
fn only_foreign_parts(moe: &MoeConfig) -> Result<(), InteropError> {
    if moe.router.null_experts > 0 {
        return Err(no_family(
            "`moe.router.null_experts` is not 0, and no other engine has null experts",
        ));
    }
    if moe.router.codons.is_some() {
        return Err(no_family(
            "`moe.router.codons` is there, and no other engine has codons",
        ));
    }
    if moe.router.similarity != Similarity::Dot {
        return Err(no_family(
            "`moe.router.similarity` is not `dot`, and no other engine has another",
        ));
    }
    Ok(())
}

fn mixtral(
    model: &ModelConfig,
    gqa: &GqaConfig,
    moe: &MoeConfig,
    extras: Extras,
) -> Result<HfConfig, InteropError> {
    only_foreign_parts(moe)?;
    let router = &moe.router;
    let is_mixtral = router.scoring_func == ScoringFunc::Softmax
        && router.norm_topk_prob
        && router.routed_scaling_factor == 1.0
        && router.n_group == 1
        && moe.n_shared_experts == 0
        && model.first_k_dense_replace == 0
        && model.num_nextn_predict_layers == 0
        && !gqa.attention_bias;
    if !is_mixtral {
        return Err(no_family(
            "grouped-query attention goes with Mixtral's experts: softmax routing with normalized gates, \
             no groups, shared experts, dense layers, MTP modules or biases",
        ));
    }
    let decoder = DecoderConfig {
        intermediate_size: moe.moe_intermediate_size,
        ..decoder(model, gqa.num_attention_heads, extras)
    };
    Ok(HfConfig::Mixtral(MixtralConfig {
        decoder,
        num_key_value_heads: gqa.num_key_value_heads,
        head_dim: gqa.head_dim,
        num_local_experts: moe.n_routed_experts,
        num_experts_per_tok: moe.num_experts_per_tok,
        router_aux_loss_coef: 0.001,
        sliding_window: gqa.sliding_window,
    }))
}

fn deepseek_v3(
    model: &ModelConfig,
    mla: &MlaConfig,
    moe: &MoeConfig,
    extras: Extras,
) -> Result<HfConfig, InteropError> {
    only_foreign_parts(moe)?;
    if moe.router.scoring_func != ScoringFunc::Sigmoid {
        return Err(no_family("latent attention goes with sigmoid routing"));
    }
    if mla.latent_norm_eps != LATENT_NORM_EPS {
        return Err(no_family(
            "`mixer.mla.latent_norm_eps` is not 1e-6, and transformers has no other",
        ));
    }
    let decoder = decoder(model, mla.num_attention_heads, extras);
    Ok(HfConfig::DeepseekV3(DeepseekV3Config {
        decoder,
        moe_intermediate_size: moe.moe_intermediate_size,
        n_shared_experts: moe.n_shared_experts,
        n_routed_experts: moe.n_routed_experts,
        num_experts_per_tok: moe.num_experts_per_tok,
        n_group: moe.router.n_group,
        topk_group: moe.router.topk_group,
        norm_topk_prob: moe.router.norm_topk_prob,
        routed_scaling_factor: moe.router.routed_scaling_factor,
        first_k_dense_replace: model.first_k_dense_replace,
        num_nextn_predict_layers: model.num_nextn_predict_layers,
        kv_lora_rank: mla.kv_lora_rank,
        q_lora_rank: mla.q_lora_rank,
        qk_rope_head_dim: mla.qk_rope_head_dim,
        qk_nope_head_dim: mla.qk_nope_head_dim,
        v_head_dim: mla.v_head_dim,
        rope_layout: RopeLayout::Interleaved,
        attention_bias: false,
    }))
}

fn rope(rope: &RopeConfig) -> HfRope {
    let scaling = match &rope.rope_scaling {
        None => None,
        Some(RopeScaling::Yarn(yarn)) => Some(HfRopeScaling::Yarn(YarnScaling {
            factor: yarn.factor,
            original_max_position_embeddings: yarn.original_max_position_embeddings,
            beta_fast: yarn.beta_fast,
            beta_slow: yarn.beta_slow,
            mscale: yarn.mscale,
            mscale_all_dim: yarn.mscale_all_dim,
            attention_factor: yarn.attention_factor,
        })),
        Some(RopeScaling::Llama3(llama)) => Some(HfRopeScaling::Llama3(Llama3Scaling {
            factor: llama.factor,
            low_freq_factor: llama.low_freq_factor,
            high_freq_factor: llama.high_freq_factor,
            original_max_position_embeddings: llama.original_max_position_embeddings,
        })),
        Some(RopeScaling::Linear(linear)) => Some(HfRopeScaling::Linear(LinearScaling {
            factor: linear.factor,
        })),
    };
    HfRope {
        rope_theta: rope.rope_theta,
        scaling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routing::cosine::CosineConfig;

    #[test]
    fn attention_that_is_not_plain_is_refused_by_name() {
        let preset = include_str!("../../../configs/mixtral-tiny.json");
        let preset: serde_json::Value = serde_json::from_str(preset).unwrap();
        let model: ModelConfig = serde_json::from_value(preset["model"].clone()).unwrap();
        for change in [
            |gqa: &mut GqaConfig| gqa.qk_norm = true,
            |gqa: &mut GqaConfig| gqa.output_gate = true,
            |gqa: &mut GqaConfig| gqa.rotary_dim = Some(2),
        ] {
            let mut model = model.clone();
            change(model.mixer.gqa.as_mut().unwrap());
            model.validate().unwrap();
            let refused = hf_config(&model, Extras::default()).unwrap_err();
            assert!(refused.to_string().contains("`qk_norm`"), "{refused}");
        }
    }

    #[test]
    fn parts_of_a_router_that_no_other_engine_has_are_refused_by_name() {
        let tiny = include_str!("../../../configs/tiny.json");
        let with_nulls = include_str!("../../../configs/genesis-moe-tiny.json");
        let refusal = |preset: &str, change: fn(&mut MoeConfig)| {
            let preset: serde_json::Value = serde_json::from_str(preset).unwrap();
            let mut model: ModelConfig = serde_json::from_value(preset["model"].clone()).unwrap();
            change(model.moe.as_mut().unwrap());
            let refused = hf_config(&model, Extras::default());
            refused.err().map(|error| error.to_string())
        };
        assert_eq!(refusal(tiny, |_| {}), None);
        let null = refusal(with_nulls, |_| {}).unwrap();
        assert!(null.contains("`moe.router.null_experts`"), "{null}");
        let cosine = refusal(tiny, |moe| {
            moe.router.similarity = Similarity::Cosine(CosineConfig::default());
        });
        let cosine = cosine.unwrap();
        assert!(cosine.contains("`moe.router.similarity`"), "{cosine}");
    }
}
