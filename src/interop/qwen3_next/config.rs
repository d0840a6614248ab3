//! `config.json` of Qwen3-Next, and the model here that it describes.

use std::path::Path;

use serde::Deserialize;

use crate::interop::InteropError;
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::gated_attention::GatedAttentionConfig;
use crate::model::mixer::gla::{GlaConfig, HeadSharing, QkNorm, UpdateRule};
use crate::model::mixer::{MixerConfig, MixerKind};
use crate::model::norm::NormWeight;
use crate::model::rope::RopeConfig;
use crate::model::routing::domain::{DomainConfig, DomainMode};
use crate::model::routing::{RouterConfig, ScoringFunc};

/// What `config.json` says, as far as the model depends on it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the file")]
pub struct Qwen3NextConfig {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub layer_types: Vec<LayerType>,
    pub linear_conv_kernel_dim: usize,
    pub linear_key_head_dim: usize,
    pub linear_value_head_dim: usize,
    pub linear_num_key_heads: usize,
    pub linear_num_value_heads: usize,
    pub num_experts: usize,
    pub num_experts_per_tok: usize,
    pub moe_intermediate_size: usize,
    pub shared_expert_intermediate_size: usize,
    pub norm_topk_prob: bool,
    #[serde(default = "one")]
    pub decoder_sparse_step: usize,
    #[serde(default)]
    pub mlp_only_layers: Vec<usize>,
    #[serde(default)]
    pub attention_bias: bool,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// Of transformers 5.
    #[serde(default)]
    pub rope_parameters: Option<RopeParameters>,
    /// Of transformers 4.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// Of transformers 4.
    #[serde(default)]
    pub partial_rotary_factor: Option<f64>,
}

/// Rotary positions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the file")]
pub struct RopeParameters {
    #[serde(default)]
    pub rope_type: Option<String>,
    pub rope_theta: f64,
    #[serde(default)]
    pub partial_rotary_factor: Option<f64>,
}

/// Mixer of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// Gated DeltaNet.
    LinearAttention,
    /// Gated attention.
    FullAttention,
}

fn one() -> usize {
    1
}

fn initializer_range() -> f64 {
    0.02
}

impl Qwen3NextConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    ///
    /// [`InteropError::Malformed`] for what is no such configuration.
    pub fn parse(path: &Path, json: &str) -> Result<Self, InteropError> {
        serde_json::from_str(json).map_err(|error| InteropError::Malformed {
            path: path.to_path_buf(),
            found: error.to_string(),
            expected: "a configuration of Qwen3-Next".into(),
        })
    }

    /// The model here.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] for what this model cannot compute, [`InteropError::Malformed`] for what no
    /// model can.
    pub fn model(&self, path: &Path) -> Result<ModelConfig, InteropError> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(InteropError::Field {
                path: path.to_path_buf(),
                field: field.into(),
                found,
                expected: expected.into(),
            })
        };
        if self.decoder_sparse_step != 1 || !self.mlp_only_layers.is_empty() {
            let found = format!(
                "{} with {:?}",
                self.decoder_sparse_step, self.mlp_only_layers
            );
            return refuse("decoder_sparse_step", found, "1, every layer with experts");
        }
        if self.attention_bias {
            return refuse("attention_bias", "true".into(), "false");
        }
        let rope = self.rope_parameters.as_ref();
        let kind = rope
            .and_then(|it| it.rope_type.as_deref())
            .unwrap_or("default");
        if kind != "default" {
            return refuse("rope_parameters.rope_type", kind.into(), "default");
        }
        let theta = rope.map(|it| it.rope_theta).or(self.rope_theta);
        let factor = rope
            .and_then(|it| it.partial_rotary_factor)
            .or(self.partial_rotary_factor);
        let model = self.described(
            theta.unwrap_or(10_000.0),
            (self.head_dim as f64 * factor.unwrap_or(0.25)) as usize,
        );
        model.validate().map_err(|error| InteropError::Malformed {
            path: path.to_path_buf(),
            found: error.to_string(),
            expected: "a model that can be built".into(),
        })?;
        Ok(model)
    }

    fn described(&self, rope_theta: f64, rotary_dim: usize) -> ModelConfig {
        let kinds = self.layer_types.iter().map(|kind| match kind {
            LayerType::LinearAttention => MixerKind::Gla,
            LayerType::FullAttention => MixerKind::GatedAttention,
        });
        ModelConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            intermediate_size: self.intermediate_size,
            mlp_bias: false,
            first_k_dense_replace: 0,
            mlp_only_layers: Vec::new(),
            layer_types: kinds.collect(),
            mixer: MixerConfig {
                gla: Some(GlaConfig {
                    num_heads: self.linear_num_value_heads,
                    num_query_heads: self.linear_num_key_heads,
                    num_key_heads: self.linear_num_key_heads,
                    num_value_heads: self.linear_num_value_heads,
                    head_sharing: HeadSharing::Grouped,
                    key_head_dim: self.linear_key_head_dim,
                    value_head_dim: self.linear_value_head_dim,
                    conv_kernel_size: self.linear_conv_kernel_dim,
                    rotary_dim: 0,
                    qk_norm: QkNorm::SquaredLength,
                    decay: Default::default(),
                    write_bias: false,
                    rule: UpdateRule::Delta,
                    training_rule: None,
                    norm_eps: self.rms_norm_eps,
                }),
                gated_attention: Some(GatedAttentionConfig {
                    num_attention_heads: self.num_attention_heads,
                    num_key_value_heads: self.num_key_value_heads,
                    head_dim: self.head_dim,
                    rotary_dim,
                }),
                ..Default::default()
            },
            rope: RopeConfig {
                rope_theta,
                rope_scaling: None,
            },
            moe: Some(MoeConfig {
                n_routed_experts: self.num_experts,
                num_experts_per_tok: self.num_experts_per_tok,
                moe_intermediate_size: self.moe_intermediate_size,
                n_shared_experts: 0,
                shared_expert_intermediate_size: Some(self.shared_expert_intermediate_size),
                shared_expert_gate: self.shared_expert_intermediate_size > 0,
                router: RouterConfig {
                    scoring_func: ScoringFunc::Softmax,
                    norm_topk_prob: self.norm_topk_prob,
                    ..RouterConfig::default()
                },
            }),
            domains: DomainConfig {
                mode: DomainMode::Off,
                ..Default::default()
            },
            num_nextn_predict_layers: 0,
            max_position_embeddings: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            quantization: None,
            initializer_range: self.initializer_range,
            embedding_initializer_range: None,
            depth_scaled_init: true,
            norm_weight: NormWeight::ZeroCentered,
            mup: None,
            selective: None,
            ttt: None,
        }
    }
}
