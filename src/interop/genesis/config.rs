//! Configuration of the Genesis-152M package, and its conversion to a [`ModelConfig`].

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::interop::InteropError;
use crate::model::ModelConfig;
use crate::model::feed_forward::selective::SelectiveConfig;
use crate::model::mixer::fox::FoxConfig;
use crate::model::mixer::gla::{DecayConfig, GlaConfig, HeadSharing, QkNorm, UpdateRule};
use crate::model::mixer::{MixerConfig, MixerKind};
use crate::model::mup::MupConfig;
use crate::model::norm::NormWeight;
use crate::model::rope::RopeConfig;
use crate::model::routing::domain::{DomainConfig, DomainMode};
use crate::model::ttt::{TttConfig, TttMode, TttViews};

/// Tokens per step of the package's `minibatch` mode.
const MINI_BATCH: usize = 16;

/// The package's configuration, as far as its code reads it. Missing keys take the package's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are the package's")]
pub struct GenesisConfig {
    pub vocab_size: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub block_size: usize,
    pub n_head: usize,
    pub n_kv_head: usize,
    pub use_gla: bool,
    pub gla_expand_k: f64,
    pub gla_expand_v: f64,
    pub gla_use_short_conv: bool,
    pub gla_conv_size: usize,
    pub gla_chunk_size: usize,
    pub gla_use_delta_rule: bool,
    pub gla_qk_norm: String,
    pub gla_use_mamba_gate: bool,
    pub gla_gate_logit_normalizer: f64,
    pub gla_fuse_norm_gate: bool,
    pub use_hybrid_layout: bool,
    pub hybrid_full_attn_ratio: f64,
    pub use_fox: bool,
    pub use_fox_pro: bool,
    pub use_ttt: bool,
    pub ttt_inner_lr: f64,
    pub ttt_rank: usize,
    pub ttt_mode: String,
    pub dropout: f64,
    pub norm_eps: f64,
    pub init_std: f64,
    pub tie_word_embeddings: bool,
    pub use_zero_centered_norm: bool,
    pub use_segment_recurrence: bool,
    pub use_selective_activation: bool,
    pub selective_k_ratio: f64,
    pub use_mup: bool,
    pub mup_base_width: usize,
    pub mup_output_mult: f64,
}

impl Default for GenesisConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50_304,
            n_embd: 768,
            n_layer: 12,
            block_size: 1024,
            n_head: 12,
            n_kv_head: 4,
            use_gla: true,
            gla_expand_k: 1.0,
            gla_expand_v: 1.0,
            gla_use_short_conv: true,
            gla_conv_size: 4,
            gla_chunk_size: 64,
            gla_use_delta_rule: true,
            gla_qk_norm: "l2".into(),
            gla_use_mamba_gate: true,
            gla_gate_logit_normalizer: 16.0,
            gla_fuse_norm_gate: true,
            use_hybrid_layout: true,
            hybrid_full_attn_ratio: 0.25,
            use_fox: true,
            use_fox_pro: true,
            use_ttt: true,
            ttt_inner_lr: 0.01,
            ttt_rank: 8,
            ttt_mode: "dual".into(),
            dropout: 0.0,
            norm_eps: 1e-6,
            init_std: 0.02,
            tie_word_embeddings: true,
            use_zero_centered_norm: true,
            use_segment_recurrence: false,
            use_selective_activation: true,
            selective_k_ratio: 0.5,
            use_mup: false,
            mup_base_width: 256,
            mup_output_mult: 1.0,
        }
    }
}

/// Keys that the package writes, but whose values its code does not use.
const WITHOUT_EFFECT: [&str; 13] = [
    "head_dim",
    "gla_gate_fn",
    "gla_use_dynamic_lr",
    "ttt_chunk_size",
    "use_gradient_checkpointing",
    "use_fused_norm",
    "segment_state_detach",
    "selective_use_soft_mask",
    "selective_mask_temperature",
    "selective_warmup_steps",
    "selective_sparsify_steps",
    "selective_schedule",
    "mup_embed_mult",
];

impl GenesisConfig {
    /// Parses the JSON in a checkpoint's metadata; also returns the unknown keys.
    ///
    /// # Errors
    ///
    /// [`InteropError::Malformed`] if it is not such a configuration.
    pub fn parse(path: &Path, json: &str) -> Result<(Self, Vec<String>), InteropError> {
        let malformed = |error: serde_json::Error| InteropError::Malformed {
            path: path.to_path_buf(),
            found: format!("`{}`: {error}", super::CONFIG_KEY),
            expected: "a Genesis configuration in JSON".into(),
        };
        let found: Value = serde_json::from_str(json).map_err(malformed)?;
        let config: Self = serde_json::from_value(found.clone()).map_err(malformed)?;
        let known = serde_json::to_value(&config).map_err(malformed)?;
        let is_known =
            |key: &String| known.get(key).is_some() || WITHOUT_EFFECT.contains(&key.as_str());
        let keys = found.as_object().into_iter().flat_map(|it| it.keys());
        let unknown = keys.filter(|key| !is_known(key)).cloned().collect();
        Ok((config, unknown))
    }

    /// Converts it to this crate's configuration.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] for a value that this crate cannot compute, [`InteropError::Malformed`] for an invalid
    /// model.
    pub fn model(&self, path: &Path) -> Result<ModelConfig, InteropError> {
        self.check(path)?;
        let model = ModelConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.n_embd,
            num_hidden_layers: self.n_layer,
            intermediate_size: (2.5 * self.n_embd as f64) as usize,
            mlp_bias: false,
            first_k_dense_replace: 0,
            mlp_only_layers: Vec::new(),
            layer_types: self.layer_types(),
            mixer: MixerConfig {
                gla: Some(self.gated_linear()),
                fox: Some(FoxConfig {
                    num_attention_heads: self.n_head,
                    num_key_value_heads: self.n_kv_head,
                    head_dim: self.n_embd / self.n_head,
                    conv_kernel_size: 4,
                    norm_eps: 1e-6,
                }),
                ..Default::default()
            },
            rope: RopeConfig {
                rope_theta: 10_000.0,
                rope_scaling: None,
            },
            moe: None,
            domains: DomainConfig {
                mode: DomainMode::Off,
                ..Default::default()
            },
            num_nextn_predict_layers: 0,
            max_position_embeddings: self.block_size,
            rms_norm_eps: self.norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            quantization: None,
            initializer_range: self.init_std,
            embedding_initializer_range: None,
            depth_scaled_init: false,
            norm_weight: match self.use_zero_centered_norm {
                true => NormWeight::ZeroCentered,
                false => NormWeight::Plain,
            },
            mup: self.use_mup.then_some(MupConfig {
                base_width: self.mup_base_width,
                output_mult: self.mup_output_mult,
            }),
            selective: self.use_selective_activation.then(|| SelectiveConfig {
                k_ratio: self.selective_k_ratio,
                mask: Default::default(),
                applies: Default::default(),
                schedule: None,
            }),
            ttt: self.use_ttt.then_some(TttConfig {
                rank: self.ttt_rank,
                inner_lr: self.ttt_inner_lr,
                strength: 0.2,
                mode: match self.ttt_mode.as_str() {
                    "minibatch" => TttMode::MiniBatch { tokens: MINI_BATCH },
                    _ => TttMode::Dual,
                },
                views: TttViews::Shared,
            }),
        };
        model.validate().map_err(|error| InteropError::Malformed {
            path: path.to_path_buf(),
            found: error.to_string(),
            expected: "a model that can be built".into(),
        })?;
        Ok(model)
    }

    /// Settings that this crate does not implement, one line each; the weights are not affected.
    pub fn not_done(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.dropout != 0.0 {
            lines.push(format!(
                "`dropout` is {}: training here drops nothing",
                self.dropout
            ));
        }
        if self.use_segment_recurrence {
            lines.push("`use_segment_recurrence`: every sequence here begins anew".into());
        }
        lines
    }

    fn layer_types(&self) -> Vec<MixerKind> {
        let ratio = self.hybrid_full_attn_ratio;
        if !self.use_hybrid_layout || ratio <= 0.0 {
            return vec![MixerKind::Gla];
        }
        let interval = ((1.0 / ratio) as usize).max(1);
        if interval > self.n_layer {
            // the first layer of the other kind would come after the last one
            return vec![MixerKind::Gla];
        }
        let mut plan = vec![MixerKind::Gla; interval];
        plan[interval - 1] = MixerKind::Fox;
        plan
    }

    /// Width of all keys or values together, before heads share them.
    fn expanded(&self, factor: f64) -> usize {
        let width = self.n_head * (self.n_embd / self.n_head);
        (width as f64 * factor) as usize
    }

    fn gated_linear(&self) -> GlaConfig {
        let key_head_dim = self.expanded(self.gla_expand_k) / self.n_head;
        GlaConfig {
            num_heads: self.n_head,
            num_query_heads: self.n_head,
            num_key_heads: self.n_kv_head,
            num_value_heads: self.n_kv_head,
            head_sharing: HeadSharing::Tiled,
            key_head_dim,
            value_head_dim: self.expanded(self.gla_expand_v) / self.n_head,
            conv_kernel_size: self.gla_conv_size,
            rotary_dim: key_head_dim / 2 / 2 * 2,
            qk_norm: match self.gla_qk_norm.as_str() {
                "l2" => QkNorm::Length,
                _ => QkNorm::Rms,
            },
            decay: match self.gla_use_mamba_gate {
                true => DecayConfig::Softplus,
                false => DecayConfig::LogSigmoid {
                    normalizer: self.gla_gate_logit_normalizer,
                },
            },
            write_bias: true,
            rule: UpdateRule::Additive,
            training_rule: self.gla_use_delta_rule.then_some(UpdateRule::ChunkDelta {
                chunk: self.gla_chunk_size,
            }),
            norm_eps: 1e-5,
        }
    }

    /// Checks values before anything is divided by them.
    fn check(&self, path: &Path) -> Result<(), InteropError> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(InteropError::Field {
                path: path.to_path_buf(),
                field: field.into(),
                found,
                expected: expected.into(),
            })
        };
        let switches = [
            ("use_gla", self.use_gla, true),
            ("gla_use_short_conv", self.gla_use_short_conv, true),
            ("use_fox", self.use_fox, true),
            ("use_fox_pro", self.use_fox_pro, true),
        ];
        for (field, found, expected) in switches {
            if found != expected {
                let expected = format!("{expected}: no published model has the other");
                return refuse(field, found.to_string(), &expected);
            }
        }
        if !["dual", "minibatch"].contains(&self.ttt_mode.as_str()) {
            return refuse("ttt_mode", self.ttt_mode.clone(), "dual or minibatch");
        }
        let (heads, shared) = (self.n_head, self.n_kv_head);
        if heads == 0 || !self.n_embd.is_multiple_of(heads) {
            let expected = format!("a divisor of `n_embd` = {}", self.n_embd);
            return refuse("n_head", heads.to_string(), &expected);
        }
        if shared == 0 || !heads.is_multiple_of(shared) {
            let expected = format!("a divisor of `n_head` = {heads}");
            return refuse("n_kv_head", shared.to_string(), &expected);
        }
        for (field, factor) in [
            ("gla_expand_k", self.gla_expand_k),
            ("gla_expand_v", self.gla_expand_v),
        ] {
            let width = self.expanded(factor);
            if width == 0 || !width.is_multiple_of(heads) {
                let expected = format!("a width that `n_head` = {heads} divides, not {width}");
                return refuse(field, factor.to_string(), &expected);
            }
        }
        Ok(())
    }
}
