//! The package's configuration for one of our models.

use std::path::Path;

use super::config::GenesisConfig;
use crate::interop::InteropError;
use crate::interop::family::{compare, essence};
use crate::model::mixer::MixerKind;
use crate::model::mixer::gla::{DecayConfig, GlaConfig, QkNorm, UpdateRule};
use crate::model::norm::NormWeight;
use crate::model::ttt::TttMode;
use crate::model::{LayerPlan, ModelConfig};

impl GenesisConfig {
    /// The package's configuration for `model`; errors name `path`.
    ///
    /// # Errors
    ///
    /// [`InteropError::Malformed`] with the first difference, if the package cannot describe the model.
    pub fn of(model: &ModelConfig, path: &Path) -> Result<Self, InteropError> {
        let refuse = |found: String| InteropError::Malformed {
            path: path.to_path_buf(),
            found,
            expected: "a model of the Genesis-152M family".into(),
        };
        let missing = |what: &str| refuse(format!("a model without `{what}`"));
        let gla = model
            .mixer
            .gla
            .as_ref()
            .ok_or_else(|| missing("mixer.gla"))?;
        let defaults = Self::default();
        let ratio = ratio(&model.plan());
        let (expand_k, expand_v) = expansions(gla, model.hidden_size);
        let selective = model.selective.as_ref();
        let ttt = model.ttt.as_ref();
        let config = Self {
            vocab_size: model.vocab_size,
            n_embd: model.hidden_size,
            n_layer: model.num_hidden_layers,
            block_size: model.max_position_embeddings,
            n_head: gla.num_heads,
            n_kv_head: gla.num_key_heads,
            gla_expand_k: expand_k,
            gla_expand_v: expand_v,
            gla_conv_size: gla.conv_kernel_size,
            gla_chunk_size: match gla.training_rule {
                Some(UpdateRule::ChunkDelta { chunk }) => chunk,
                _ => defaults.gla_chunk_size,
            },
            gla_use_delta_rule: gla.training_rule.is_some(),
            gla_qk_norm: match gla.qk_norm {
                QkNorm::Rms => "rms".into(),
                _ => "l2".into(),
            },
            gla_use_mamba_gate: gla.decay == DecayConfig::Softplus,
            gla_gate_logit_normalizer: match gla.decay {
                DecayConfig::LogSigmoid { normalizer } => normalizer,
                DecayConfig::Softplus => defaults.gla_gate_logit_normalizer,
            },
            use_hybrid_layout: ratio.is_some(),
            hybrid_full_attn_ratio: ratio.unwrap_or(defaults.hybrid_full_attn_ratio),
            use_ttt: ttt.is_some(),
            ttt_inner_lr: ttt.map_or(defaults.ttt_inner_lr, |it| it.inner_lr),
            ttt_rank: ttt.map_or(defaults.ttt_rank, |it| it.rank),
            ttt_mode: match ttt.map(|it| &it.mode) {
                Some(TttMode::MiniBatch { .. }) => "minibatch".into(),
                _ => "dual".into(),
            },
            norm_eps: model.rms_norm_eps,
            init_std: model.initializer_range,
            tie_word_embeddings: model.tie_word_embeddings,
            use_zero_centered_norm: model.norm_weight == NormWeight::ZeroCentered,
            use_selective_activation: selective.is_some(),
            selective_k_ratio: selective.map_or(defaults.selective_k_ratio, |it| it.k_ratio),
            use_mup: model.mup.is_some(),
            mup_base_width: model
                .mup
                .as_ref()
                .map_or(defaults.mup_base_width, |it| it.base_width),
            mup_output_mult: model
                .mup
                .as_ref()
                .map_or(defaults.mup_output_mult, |it| it.output_mult),
            ..defaults
        };
        // the package must build this very model from it
        let mut differences = Vec::new();
        let (found, expected) = (essence(model), essence(&config.model(path)?));
        compare("", &found, &expected, &mut differences);
        match differences.first() {
            None => Ok(config),
            Some((field, found, expected)) => Err(refuse(format!(
                "`{field}`: {found}, where the package has {expected}"
            ))),
        }
    }
}

/// Value of `hybrid_full_attn_ratio` for this layer plan; `None` without a layer of forgetting attention.
fn ratio(plan: &[LayerPlan<'_>]) -> Option<f64> {
    let interval = 1 + plan
        .iter()
        .position(|layer| layer.mixer == MixerKind::Fox)?;
    let exact = 1.0 / interval as f64;
    // the package truncates the reciprocal
    match (1.0 / exact) as usize == interval {
        true => Some(exact),
        false => Some(1.0 / (interval as f64 + 0.25)),
    }
}

/// Widths of all keys and of all values, each divided by the model's width.
fn expansions(gla: &GlaConfig, hidden: usize) -> (f64, f64) {
    let share = |dim: usize| {
        let width = gla.num_heads * dim;
        let exact = width as f64 / hidden as f64;
        // the package truncates the product
        match (hidden as f64 * exact) as usize == width {
            true => exact,
            false => (width as f64 + 0.25) / hidden as f64,
        }
    };
    (share(gla.key_head_dim), share(gla.value_head_dim))
}
