//! Qwen3-Next: gated DeltaNet and gated attention, softmax-routed experts beside a gated shared one
//! (<https://qwen.ai/blog?id=qwen3-next>).
//!
//! Its projections are fused, so our parameters are some of their rows. Multi-token prediction modules are ignored.

use serde_json::json;

use super::{Family, Profile, experts};
use crate::interop::InteropError;
use crate::interop::entry::{Rows, Take, Turn};
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::interop::names::Entries;
use crate::model::mixer::MixerKind;
use crate::model::mixer::gated_attention::GatedAttentionConfig;
use crate::model::mixer::gla::{GlaConfig, HeadSharing, QkNorm, UpdateRule};
use crate::model::norm::NormWeight;
use crate::model::routing::ScoringFunc;

const LAYERS: [(&str, MixerKind); 2] = [
    ("linear_attention", MixerKind::Gla),
    ("full_attention", MixerKind::GatedAttention),
];

#[derive(Debug)]
pub(super) struct Qwen3Next;

impl Family for Qwen3Next {
    fn profile(&self) -> Profile {
        Profile {
            name: "Qwen3-Next",
            model_type: "qwen3_next",
            architecture: "Qwen3NextForCausalLM",
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: false,
            gguf: None,
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        model.norm_weight = NormWeight::ZeroCentered;
        match keys.reading() {
            Some(fields) if fields.value("layer_types").is_none() => {
                let interval = fields.size_or("full_attention_interval", 4)?;
                let linear = (interval - 1).min(model.num_hidden_layers);
                model.layer_types = vec![MixerKind::Gla; linear];
                model.layer_types.push(MixerKind::GatedAttention);
            }
            _ => keys.layers("layer_types", &mut model.layer_types, &LAYERS)?,
        }
        let attention = model
            .mixer
            .gated_attention
            .get_or_insert(GatedAttentionConfig {
                num_attention_heads: 0,
                num_key_value_heads: 0,
                head_dim: 0,
                rotary_dim: 0,
            });
        let heads = [
            &mut attention.num_attention_heads,
            &mut attention.num_key_value_heads,
            &mut attention.head_dim,
        ];
        let defaults = HeadDefaults {
            key_value: Some(2),
            dim: Some(256),
        };
        keys.heads(model.hidden_size, heads, defaults)?;
        keys.partial_rotary(&mut attention.rotary_dim, attention.head_dim, 0.25)?;
        keys.only("attention_bias", false)?;
        let linear = model.mixer.gla.get_or_insert(GlaConfig {
            num_heads: 0,
            num_query_heads: 0,
            num_key_heads: 0,
            num_value_heads: 0,
            head_sharing: HeadSharing::Grouped,
            key_head_dim: 0,
            value_head_dim: 0,
            conv_kernel_size: 0,
            rotary_dim: 0,
            qk_norm: QkNorm::SquaredLength,
            decay: Default::default(),
            write_bias: false,
            rule: UpdateRule::Delta,
            training_rule: None,
            norm_eps: model.rms_norm_eps,
        });
        keys.size_or("linear_conv_kernel_dim", &mut linear.conv_kernel_size, 4)?;
        keys.size_or("linear_key_head_dim", &mut linear.key_head_dim, 128)?;
        keys.size_or("linear_value_head_dim", &mut linear.value_head_dim, 128)?;
        keys.size_or("linear_num_key_heads", &mut linear.num_key_heads, 16)?;
        keys.size_or("linear_num_value_heads", &mut linear.num_value_heads, 32)?;
        linear.num_query_heads = linear.num_key_heads;
        linear.num_heads = linear.num_value_heads;
        let moe = experts(model, ScoringFunc::Softmax);
        keys.size_or("num_experts", &mut moe.n_routed_experts, 512)?;
        keys.size_or("num_experts_per_tok", &mut moe.num_experts_per_tok, 10)?;
        keys.size_or("moe_intermediate_size", &mut moe.moe_intermediate_size, 512)?;
        let shared = moe.shared_expert_intermediate_size.get_or_insert(0);
        keys.count_or("shared_expert_intermediate_size", shared, 512)?;
        moe.shared_expert_gate = *shared > 0;
        keys.flag_or("norm_topk_prob", &mut moe.router.norm_topk_prob, true)?;
        keys.only("decoder_sparse_step", 1)?;
        keys.only("mlp_only_layers", json!([]))
    }

    fn mixer(
        &self,
        all: &mut Entries,
        config: &HfConfig,
        kind: MixerKind,
        ours: &str,
        theirs: &str,
    ) {
        let mixers = &config.model.mixer;
        match (kind, &mixers.gla, &mixers.gated_attention) {
            (MixerKind::Gla, Some(linear), _) => {
                delta_net(all, linear, ours, &format!("{theirs}.linear_attn"));
            }
            (MixerKind::GatedAttention, _, Some(attention)) => {
                gated_attention(all, attention, ours, &format!("{theirs}.self_attn"));
            }
            _ => all.mixer(config, kind, ours, theirs),
        }
    }

    fn ignores(&self, name: &str) -> bool {
        name.starts_with("mtp.")
    }
}

/// Mapping of a gated DeltaNet. `in_proj_qkvz` holds, for every key head, its query, its key, and the values and
/// gates of its value heads; `in_proj_ba` likewise holds their write strengths and decays.
fn delta_net(all: &mut Entries, config: &GlaConfig, ours: &str, theirs: &str) {
    let (groups, key) = (config.num_key_heads, config.key_head_dim);
    let each = config.num_value_heads / groups;
    let value = each.saturating_mul(config.value_head_dim);
    let of_heads = |stride, start, width| {
        Take::Rows(Rows::Groups {
            groups,
            stride,
            start,
            width,
        })
    };
    let stride = 2 * key + 2 * value;
    let channels = groups * (2 * key + value);
    let of_channels = |start, width| {
        Take::Rows(Rows::Groups {
            groups: 1,
            stride: channels,
            start,
            width,
        })
    };
    let keys = groups * key;
    // ours, theirs, which rows, which form
    let fused = [
        (
            "q_proj",
            "in_proj_qkvz",
            of_heads(stride, 0, key),
            Turn::Transposed,
        ),
        (
            "k_proj",
            "in_proj_qkvz",
            of_heads(stride, key, key),
            Turn::Transposed,
        ),
        (
            "v_proj",
            "in_proj_qkvz",
            of_heads(stride, 2 * key, value),
            Turn::Transposed,
        ),
        (
            "g_proj",
            "in_proj_qkvz",
            of_heads(stride, 2 * key + value, value),
            Turn::Transposed,
        ),
        (
            "b_proj",
            "in_proj_ba",
            of_heads(2 * each, 0, each),
            Turn::Transposed,
        ),
        (
            "gk_proj",
            "in_proj_ba",
            of_heads(2 * each, each, each),
            Turn::Transposed,
        ),
        ("q_conv", "conv1d", of_channels(0, keys), Turn::Convolution),
        (
            "k_conv",
            "conv1d",
            of_channels(keys, keys),
            Turn::Convolution,
        ),
        (
            "v_conv",
            "conv1d",
            of_channels(2 * keys, groups * value),
            Turn::Convolution,
        ),
        ("o_norm", "norm", Take::Whole, Turn::Same),
        ("o_proj", "out_proj", Take::Whole, Turn::Transposed),
    ];
    for (our, their, take, turn) in fused {
        let (our, their) = (
            format!("{ours}.{our}.weight"),
            format!("{theirs}.{their}.weight"),
        );
        all.one(our, their, take, turn);
    }
    for (our, their) in [("a_log", "A_log"), ("dt_bias", "dt_bias")] {
        all.same(format!("{ours}.{our}"), format!("{theirs}.{their}"));
    }
}

/// Mapping of gated attention. `q_proj` holds query and gate of one head after the other.
fn gated_attention(all: &mut Entries, config: &GatedAttentionConfig, ours: &str, theirs: &str) {
    let part = |start| {
        Take::Rows(Rows::Groups {
            groups: config.num_attention_heads,
            stride: 2 * config.head_dim,
            start,
            width: config.head_dim,
        })
    };
    let fused = [
        ("q_proj", "q_proj", part(0), Turn::Transposed),
        (
            "gate_proj",
            "q_proj",
            part(config.head_dim),
            Turn::Transposed,
        ),
        ("k_proj", "k_proj", Take::Whole, Turn::Transposed),
        ("v_proj", "v_proj", Take::Whole, Turn::Transposed),
        ("o_proj", "o_proj", Take::Whole, Turn::Transposed),
        ("q_norm", "q_norm", Take::Whole, Turn::Same),
        ("k_norm", "k_norm", Take::Whole, Turn::Same),
    ];
    for (our, their, take, turn) in fused {
        let (our, their) = (
            format!("{ours}.{our}.weight"),
            format!("{theirs}.{their}.weight"),
        );
        all.one(our, their, take, turn);
    }
}
