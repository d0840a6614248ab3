//! The model here that a configuration of another format describes.

use std::path::Path;

use crate::interop::InteropError;
use crate::interop::hugging_face::{
    DecoderConfig, DeepseekV3Config, HfConfig, HfRope, HfRopeScaling, LATENT_NORM_EPS, LlamaConfig,
    MixtralConfig,
};
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::gqa::GqaConfig;
use crate::model::mixer::mla::MlaConfig;
use crate::model::mixer::{MixerConfig, MixerKind};
use crate::model::rope::{Linear, Llama3, RopeConfig, RopeScaling, Yarn};
use crate::model::routing::domain::{DomainConfig, DomainMode};
use crate::model::routing::{RouterConfig, ScoringFunc};

/// The model that a `config.json` describes. Domains are off.
///
/// # Errors
///
/// [`InteropError::Field`] for what this model cannot compute.
pub fn model_config(config: &HfConfig, path: &Path) -> Result<ModelConfig, InteropError> {
    let model = match config {
        HfConfig::DeepseekV3(config) => deepseek_v3(config, path)?,
        HfConfig::Llama(config) => llama(config),
        HfConfig::Mixtral(config) => mixtral(config),
    };
    model.validate().map_err(|error| InteropError::Malformed {
        path: path.to_path_buf(),
        found: error.to_string(),
        expected: "a model that can be built".into(),
    })?;
    Ok(model)
}

/// A dense decoder with these mixers.
fn decoder(config: &DecoderConfig, kind: MixerKind, mixer: MixerConfig) -> ModelConfig {
    ModelConfig {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        intermediate_size: config.intermediate_size,
        first_k_dense_replace: 0,
        mlp_only_layers: Vec::new(),
        layer_types: vec![kind],
        mixer,
        rope: rope(&config.rope),
        moe: None,
        domains: no_domains(),
        num_nextn_predict_layers: 0,
        max_position_embeddings: config.max_position_embeddings,
        rms_norm_eps: config.rms_norm_eps,
        mlp_bias: false,
        tie_word_embeddings: config.tie_word_embeddings,
        quantization: None,
        depth_scaled_init: true,
        norm_weight: Default::default(),
        mup: None,
        selective: None,
        ttt: None,
        initializer_range: config.initializer_range,
        embedding_initializer_range: None,
    }
}

fn grouped_query(config: &DecoderConfig, gqa: GqaConfig) -> ModelConfig {
    let mixer = MixerConfig {
        gqa: Some(gqa),
        ..Default::default()
    };
    decoder(config, MixerKind::Gqa, mixer)
}

fn deepseek_v3(config: &DeepseekV3Config, path: &Path) -> Result<ModelConfig, InteropError> {
    if config.attention_bias {
        return Err(InteropError::Field {
            path: path.to_path_buf(),
            field: "attention_bias".into(),
            found: "true".into(),
            expected: "false: latent attention has no biases here".into(),
        });
    }
    let mla = MlaConfig {
        num_attention_heads: config.decoder.num_attention_heads,
        q_lora_rank: config.q_lora_rank,
        kv_lora_rank: config.kv_lora_rank,
        qk_nope_head_dim: config.qk_nope_head_dim,
        qk_rope_head_dim: config.qk_rope_head_dim,
        v_head_dim: config.v_head_dim,
        latent_norm_eps: LATENT_NORM_EPS,
    };
    let mixer = MixerConfig {
        mla: Some(mla),
        ..Default::default()
    };
    Ok(ModelConfig {
        first_k_dense_replace: config.first_k_dense_replace,
        moe: Some(MoeConfig {
            n_routed_experts: config.n_routed_experts,
            num_experts_per_tok: config.num_experts_per_tok,
            moe_intermediate_size: config.moe_intermediate_size,
            n_shared_experts: config.n_shared_experts,
            shared_expert_intermediate_size: None,
            shared_expert_gate: false,
            router: RouterConfig {
                scoring_func: ScoringFunc::Sigmoid,
                n_group: config.n_group,
                topk_group: config.topk_group,
                norm_topk_prob: config.norm_topk_prob,
                routed_scaling_factor: config.routed_scaling_factor,
                ..RouterConfig::default()
            },
        }),
        num_nextn_predict_layers: config.num_nextn_predict_layers,
        ..decoder(&config.decoder, MixerKind::Mla, mixer)
    })
}

fn llama(config: &LlamaConfig) -> ModelConfig {
    let gqa = GqaConfig {
        num_attention_heads: config.decoder.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        attention_bias: config.attention_bias,
        ..GqaConfig::default()
    };
    ModelConfig {
        mlp_bias: config.mlp_bias,
        ..grouped_query(&config.decoder, gqa)
    }
}

fn mixtral(config: &MixtralConfig) -> ModelConfig {
    let gqa = GqaConfig {
        num_attention_heads: config.decoder.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        sliding_window: config.sliding_window,
        ..GqaConfig::default()
    };
    ModelConfig {
        moe: Some(MoeConfig {
            n_routed_experts: config.num_local_experts,
            num_experts_per_tok: config.num_experts_per_tok,
            moe_intermediate_size: config.decoder.intermediate_size,
            n_shared_experts: 0,
            shared_expert_intermediate_size: None,
            shared_expert_gate: false,
            router: RouterConfig {
                scoring_func: ScoringFunc::Softmax,
                ..RouterConfig::default()
            },
        }),
        ..grouped_query(&config.decoder, gqa)
    }
}

fn no_domains() -> DomainConfig {
    DomainConfig {
        mode: DomainMode::Off,
        ..Default::default()
    }
}

fn rope(rope: &HfRope) -> RopeConfig {
    let scaling = rope.scaling.as_ref().map(|scaling| match scaling {
        HfRopeScaling::Yarn(yarn) => RopeScaling::Yarn(Yarn {
            factor: yarn.factor,
            original_max_position_embeddings: yarn.original_max_position_embeddings,
            beta_fast: yarn.beta_fast,
            beta_slow: yarn.beta_slow,
            mscale: yarn.mscale,
            mscale_all_dim: yarn.mscale_all_dim,
            attention_factor: yarn.attention_factor,
        }),
        HfRopeScaling::Llama3(llama) => RopeScaling::Llama3(Llama3 {
            factor: llama.factor,
            low_freq_factor: llama.low_freq_factor,
            high_freq_factor: llama.high_freq_factor,
            original_max_position_embeddings: llama.original_max_position_embeddings,
        }),
        HfRopeScaling::Linear(linear) => RopeScaling::Linear(Linear {
            factor: linear.factor,
        }),
    });
    RopeConfig {
        rope_theta: rope.rope_theta,
        rope_scaling: scaling,
    }
}
