//! Metadata keys of a model, from its `config.json`.
//!
//! Keys, types and order are those of llama.cpp's converter
//! (<https://github.com/ggml-org/llama.cpp/blob/master/conversion/base.py>). Of the keys `general.*`
//! that it guesses from folder name, model card and `generation_config.json`, only the name is here.
//! A configuration that llama.cpp would refuse or silently compute otherwise is an error.

use super::blocks::OutType;
use super::config::{Attention, Config, Experts, Family, Layout, MlaDims};
use super::entry::Entry;
use super::rope::{Rope, Scaling, YARN_NUMBERS, Yarn};
use super::size_label::size_label;
use super::value::GgufValue::{self, Bool, F32, U32};
use crate::interop::InteropError;
use crate::interop::hugging_face::LATENT_NORM_EPS;

/// Keys with their values, in the order of the file.
pub(super) type Keys = Vec<(String, GgufValue)>;

/// All keys except those of the tokenizer.
pub(super) fn model_keys(
    config: &Config<'_>,
    layout: &Layout,
    rope: &Rope,
    entries: &[Entry],
    name: &str,
    dtype: OutType,
) -> Result<Keys, InteropError> {
    let mut keys = Writer {
        keys: Vec::new(),
        architecture: layout.family.architecture(),
    };
    keys.general("architecture", layout.family.architecture().into());
    keys.general("type", "model".into());
    keys.general("name", name.into());
    keys.general("size_label", GgufValue::String(size_label(entries)));
    transformer_keys(&mut keys, config, layout, rope)?;
    match layout.attention {
        Attention::Mla { dims, .. } => {
            keys.lengths(dims.kv_lora_rank + dims.qk_rope_head_dim, dims.kv_lora_rank)
        }
        Attention::Gqa { head_dim, .. } => keys.lengths(head_dim, head_dim),
    }
    keys.general("file_type", U32(file_type(dtype)));
    match (layout.attention, &layout.experts) {
        (Attention::Mla { q_lora_rank, dims }, Some(experts)) => {
            deepseek_keys(&mut keys, config, layout, experts, q_lora_rank, dims, rope)?;
        }
        (Attention::Gqa { head_dim, .. }, _) => {
            keys.size("vocab_size", layout.vocab_size);
            keys.size("rope.dimension_count", head_dim);
        }
        (Attention::Mla { .. }, None) => {}
    }
    keys.general("quantization_version", U32(QUANTIZATION_VERSION));
    Ok(keys.keys)
}

/// Version of ggml's block formats.
const QUANTIZATION_VERSION: u32 = 2;

/// llama.cpp's number for a file whose matrices have this type.
fn file_type(dtype: OutType) -> u32 {
    match dtype {
        OutType::F32 => 0,
        OutType::F16 => 1,
        OutType::Q8_0 => 7,
        OutType::Bf16 => 32,
    }
}

struct Writer {
    keys: Keys,
    architecture: &'static str,
}

impl Writer {
    fn general(&mut self, key: &str, value: GgufValue) {
        self.keys.push((format!("general.{key}"), value));
    }

    fn put(&mut self, key: &str, value: GgufValue) {
        self.keys
            .push((format!("{}.{key}", self.architecture), value));
    }

    /// Sizes are below 2^32: those of a layout are at most 2^24, and its sums are of two.
    fn size(&mut self, key: &str, size: usize) {
        self.put(key, U32(size as u32));
    }

    fn number(&mut self, key: &str, number: f64) {
        self.put(key, F32(number as f32));
    }

    fn lengths(&mut self, key: usize, value: usize) {
        self.size("attention.key_length", key);
        self.size("attention.value_length", value);
    }
}

fn transformer_keys(
    keys: &mut Writer,
    config: &Config<'_>,
    layout: &Layout,
    rope: &Rope,
) -> Result<(), InteropError> {
    keys.size("block_count", layout.num_hidden_layers);
    keys.put(
        "context_length",
        U32(config.required_count("max_position_embeddings")?),
    );
    keys.size("embedding_length", layout.hidden_size);
    keys.size("feed_forward_length", layout.intermediate_size);
    keys.size("attention.head_count", layout.num_attention_heads);
    keys.size(
        "attention.head_count_kv",
        match layout.attention {
            // The latent is one key-value head that all query heads share.
            Attention::Mla { .. } => 1,
            Attention::Gqa {
                num_key_value_heads,
                ..
            } => num_key_value_heads,
        },
    );
    rope_keys(keys, config, layout, rope)?;
    let eps = config.required_number("rms_norm_eps")?;
    if layout.family == Family::DeepseekV3 && eps != LATENT_NORM_EPS {
        let expected = "1e-6, which the norms of the latents have: GGUF holds one number for all";
        return Err(config.error("rms_norm_eps", eps, expected));
    }
    keys.number("attention.layer_norm_rms_epsilon", eps);
    if let Some(experts) = &layout.experts {
        keys.size("expert_count", experts.count);
        keys.put(
            "expert_used_count",
            U32(config.required_count("num_experts_per_tok")?),
        );
    }
    match layout.family {
        Family::DeepseekV3 => routing_keys(keys, config),
        Family::Mixtral if config.get("sliding_window").is_some() => Err(config.error(
            "sliding_window",
            "set",
            "null, for llama.cpp has no window here",
        )),
        Family::Mixtral | Family::Llama => Ok(()),
    }
}

fn rope_keys(
    keys: &mut Writer,
    config: &Config<'_>,
    layout: &Layout,
    rope: &Rope,
) -> Result<(), InteropError> {
    match &rope.scaling {
        Scaling::None => {}
        // llama.cpp warms the softmax of this architecture by the factor, YaRN or not
        Scaling::Linear { factor } if layout.family == Family::DeepseekV3 && *factor > 1.0 => {
            return Err(config.error(
                "rope_scaling.type",
                "linear",
                "default or yarn: llama.cpp multiplies the softmax scale of this family by (1 + 0.1 ln factor)^2",
            ));
        }
        Scaling::Linear { factor } => {
            keys.put("rope.scaling.type", "linear".into());
            keys.number("rope.scaling.factor", *factor);
        }
        Scaling::Yarn(yarn) => {
            check_temperature(yarn, config, layout.family)?;
            keys.put("rope.scaling.type", "yarn".into());
            keys.number("rope.scaling.factor", yarn.factor);
            keys.put(
                "rope.scaling.original_context_length",
                U32(yarn.original_max_position_embeddings),
            );
            for (number, (_, key)) in yarn.numbers.iter().zip(YARN_NUMBERS) {
                if let Some(number) = number {
                    keys.number(&format!("rope.scaling.{key}"), *number);
                }
            }
        }
        // No key: the factors are a tensor, which `deepseek2` does not have.
        Scaling::Llama3(_) if layout.family == Family::DeepseekV3 => {
            return Err(config.error("rope_scaling.type", "llama3", "default, linear or yarn"));
        }
        Scaling::Llama3(_) => {}
    }
    keys.number("rope.freq_base", rope.theta);
    Ok(())
}

/// llama.cpp warms the rotated vectors by `0.1 ln factor + 1`, or in `deepseek2` the softmax, by a number that the
/// file gives; transformers does the former without `mscale_all_dim`, and in DeepSeek-V3 the latter with it.
fn check_temperature(yarn: &Yarn, config: &Config<'_>, family: Family) -> Result<(), InteropError> {
    let field = "mscale_all_dim";
    let own = match yarn.mscale_all_dim {
        None if yarn.factor > 1.0 => 0.1 * yarn.factor.ln() + 1.0,
        _ => 1.0,
    };
    if let Some(stated) = yarn.attention_factor.filter(|it| (it - own).abs() > 1e-6) {
        let expected = format!("{own}, which llama.cpp computes from the factor");
        return Err(config.error("rope_scaling.attention_factor", stated, expected));
    }
    match (family, yarn.mscale_all_dim) {
        // without an extension nothing is warmed
        _ if yarn.factor <= 1.0 => Ok(()),
        (Family::DeepseekV3, Some(_)) | (Family::Mixtral | Family::Llama, None) => Ok(()),
        (Family::DeepseekV3, None) => Err(config.error(
            field,
            "missing",
            "a number, without which llama.cpp scales the softmax of this family",
        )),
        (Family::Mixtral | Family::Llama, Some(mscale)) => Err(config.error(
            field,
            mscale,
            "none, for llama.cpp has no such key in this family",
        )),
    }
}

/// The router of DeepSeek-V3. transformers scores by sigmoid whether `scoring_func` is there or
/// not; llama.cpp takes a missing key for softmax, so it is always written.
fn routing_keys(keys: &mut Writer, config: &Config<'_>) -> Result<(), InteropError> {
    let experts = config.required_count("n_routed_experts")?;
    let groups = config.required_count("n_group")?;
    let groups_used = config.required_count("topk_group")?;
    if groups > 1 {
        if experts % groups != 0 || groups >= experts {
            return Err(config.error(
                "n_group",
                groups,
                format!("a smaller divisor of the {experts} experts"),
            ));
        }
        if !(1..groups).contains(&groups_used) {
            return Err(config.error(
                "topk_group",
                groups_used,
                format!("1 to {}, or n_group 1 for no groups", groups - 1),
            ));
        }
    }
    keys.put("expert_group_count", U32(groups));
    keys.put("expert_group_used_count", U32(groups_used));
    let function = match config.text("scoring_func")? {
        None | Some("sigmoid") => 2,
        Some("softmax") => 1,
        Some(other) => return Err(config.error("scoring_func", other, "sigmoid or softmax")),
    };
    keys.put("expert_gating_func", U32(function));
    Ok(())
}

fn deepseek_keys(
    keys: &mut Writer,
    config: &Config<'_>,
    layout: &Layout,
    experts: &Experts,
    q_lora_rank: Option<usize>,
    dims: MlaDims,
    rope: &Rope,
) -> Result<(), InteropError> {
    // llama.cpp tells by the number of layers whether queries have a latent.
    let lite = matches!(
        (layout.num_hidden_layers, layout.vocab_size),
        (26 | 27, _) | (48, 128_256)
    );
    match q_lora_rank {
        None if !lite => {
            return Err(config.error(
                "q_lora_rank",
                "null",
                "a rank, which llama.cpp requires unless 26 or 27 layers",
            ));
        }
        Some(rank) if lite => {
            return Err(config.error(
                "q_lora_rank",
                rank,
                "null, as llama.cpp assumes for this number of layers",
            ));
        }
        _ => {}
    }
    if config
        .get("rope_interleave")
        .is_some_and(|value| value != true)
    {
        return Err(config.error(
            "rope_interleave",
            "false",
            "true, the only order that llama.cpp has for deepseek2",
        ));
    }
    keys.size("leading_dense_block_count", experts.first_layer);
    keys.size("vocab_size", layout.vocab_size);
    if let Some(rank) = q_lora_rank {
        keys.size("attention.q_lora_rank", rank);
    }
    keys.size("attention.kv_lora_rank", dims.kv_lora_rank);
    keys.size(
        "attention.key_length_mla",
        dims.qk_nope_head_dim + dims.qk_rope_head_dim,
    );
    keys.size("attention.value_length_mla", dims.v_head_dim);
    keys.size("expert_feed_forward_length", experts.intermediate_size);
    keys.size(
        "expert_shared_count",
        config.required_size("n_shared_experts")?,
    );
    keys.number(
        "expert_weights_scale",
        config.required_number("routed_scaling_factor")?,
    );
    if config.required_flag("norm_topk_prob")? {
        keys.put("expert_weights_norm", Bool(true));
    }
    keys.size("rope.dimension_count", dims.qk_rope_head_dim);
    if let Scaling::Yarn(yarn) = &rope.scaling
        && let Some(mscale) = yarn.mscale_all_dim
    {
        keys.number("rope.scaling.yarn_log_multiplier", 0.1 * mscale);
    }
    Ok(())
}
