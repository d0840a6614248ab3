//! Metadata keys for a model's configuration.
//!
//! Keys, types and order are those of llama.cpp's converter
//! (<https://github.com/ggml-org/llama.cpp/blob/master/conversion/base.py>), except for keys `general.*` that it
//! guesses from the folder, the model card and `generation_config.json`: of these only the name is written. A
//! configuration that llama.cpp would refuse or silently compute differently is an error.

use std::path::Path;

use serde_json::json;

use super::blocks::OutType;
use super::places::{KEYS, Of};
use super::value::GgufValue::{self, F32, U32};
use crate::interop::InteropError;
use crate::interop::family::{Gguf, compare, essence};
use crate::interop::hugging_face::HfConfig;
use crate::model::ModelConfig;
use crate::model::rope::{RopeScaling, RotaryPairs, Yarn};

/// Keys with their values, in file order.
pub(super) type Keys = Vec<(String, GgufValue)>;

/// Order of the keys. Those that start with a dot are prefixed by the architecture's name.
const ORDER: [&str; 38] = [
    "general.architecture",
    "general.type",
    "general.name",
    "general.size_label",
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".feed_forward_length",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".rope.scaling.type",
    ".rope.scaling.factor",
    ".rope.scaling.original_context_length",
    ".rope.scaling.yarn_beta_fast",
    ".rope.scaling.yarn_beta_slow",
    ".rope.freq_base",
    ".attention.layer_norm_rms_epsilon",
    ".expert_count",
    ".expert_used_count",
    ".expert_group_count",
    ".expert_group_used_count",
    ".expert_gating_func",
    ".attention.key_length",
    ".attention.value_length",
    "general.file_type",
    ".leading_dense_block_count",
    ".vocab_size",
    ".attention.q_lora_rank",
    ".attention.kv_lora_rank",
    ".attention.key_length_mla",
    ".attention.value_length_mla",
    ".expert_feed_forward_length",
    ".expert_shared_count",
    ".expert_weights_scale",
    ".expert_weights_norm",
    ".rope.dimension_count",
    ".rope.scaling.yarn_log_multiplier",
    "general.quantization_version",
];

/// All keys except the tokenizer's.
pub(super) fn model_keys(
    config: &HfConfig,
    gguf: &Gguf,
    size_label: String,
    name: &str,
    dtype: OutType,
) -> Keys {
    let mut model = config.model.clone();
    let mut found: Vec<(String, GgufValue)> = [
        ("general.architecture", gguf.architecture.into()),
        ("general.type", "model".into()),
        ("general.name", name.into()),
        ("general.size_label", GgufValue::String(size_label)),
        ("general.file_type", U32(file_type(dtype))),
        ("general.quantization_version", U32(QUANTIZATION_VERSION)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut put = |key: &str, value: GgufValue| found.push((format!(".{key}"), value));
    for key in KEYS {
        if key.of == Of::All || gguf.keys.contains(&key.name) {
            key.value(&mut model)
                .into_iter()
                .for_each(|value| put(key.name, value));
        }
    }
    let mut size = |key: &str, size: usize| put(key, U32(size as u32));
    size("feed_forward_length", *config.family.width(&mut model));
    size("vocab_size", model.vocab_size);
    if let Some(mla) = &model.mixer.mla {
        // the latent is one key-value head that all query heads share
        size("attention.head_count_kv", 1);
        size(
            "attention.key_length",
            mla.kv_lora_rank + mla.qk_rope_head_dim,
        );
        size("attention.value_length", mla.kv_lora_rank);
        size("attention.key_length_mla", mla.qk_head_dim());
        size("attention.value_length_mla", mla.v_head_dim);
        size("rope.dimension_count", mla.qk_rope_head_dim);
    }
    if let Some(gqa) = &model.mixer.gqa {
        size("attention.head_count_kv", gqa.num_key_value_heads);
        size("attention.key_length", gqa.head_dim);
        size("attention.value_length", gqa.head_dim);
        size(
            "rope.dimension_count",
            gqa.rotary_dim.unwrap_or(gqa.head_dim),
        );
    }
    rope_keys(&model, &mut put);
    let place = |key: &str| {
        let place = ORDER.iter().position(|other| *other == key);
        place.unwrap_or(ORDER.len() - 1)
    };
    found.sort_by_key(|(key, _)| place(key));
    let spelled = |(key, value): (String, GgufValue)| match key.strip_prefix('.') {
        Some(key) => (format!("{}.{key}", gguf.architecture), value),
        None => (key, value),
    };
    found.into_iter().map(spelled).collect()
}

/// Version of ggml's block formats.
const QUANTIZATION_VERSION: u32 = 2;

/// llama.cpp's file type for matrices of this element type.
fn file_type(dtype: OutType) -> u32 {
    match dtype {
        OutType::F32 => 0,
        OutType::F16 => 1,
        OutType::Q8_0 => 7,
        OutType::Bf16 => 32,
    }
}

fn rope_keys(model: &ModelConfig, put: &mut impl FnMut(&str, GgufValue)) {
    let mut number = |key: &str, number: f64| put(key, F32(number as f32));
    match &model.rope.rope_scaling {
        // the factors of llama3 are stored as a tensor
        None | Some(RopeScaling::Llama3(_)) => {}
        Some(RopeScaling::Linear(linear)) => {
            number("rope.scaling.factor", linear.factor);
            put("rope.scaling.type", "linear".into());
        }
        Some(RopeScaling::Yarn(yarn)) => {
            number("rope.scaling.factor", yarn.factor);
            number("rope.scaling.yarn_beta_fast", yarn.beta_fast);
            number("rope.scaling.yarn_beta_slow", yarn.beta_slow);
            if let (Some(mscale), Some(_)) = (yarn.mscale_all_dim, &model.mixer.mla) {
                number("rope.scaling.yarn_log_multiplier", 0.1 * mscale);
            }
            let original = yarn.original_max_position_embeddings as u32;
            put("rope.scaling.original_context_length", U32(original));
            put("rope.scaling.type", "yarn".into());
        }
    }
}

/// Refuses configurations that llama.cpp refuses or computes differently. `path` is that of `config.json`.
pub(super) fn check(config: &HfConfig, gguf: &Gguf, path: &Path) -> Result<(), InteropError> {
    let refuse = |field: &str, found: String, expected: String| {
        Err(InteropError::Field {
            path: path.to_path_buf(),
            field: field.to_owned(),
            found,
            expected,
        })
    };
    let model = &config.model;
    if let Some(mla) = &model.mixer.mla {
        if model.rms_norm_eps != mla.latent_norm_eps {
            let found = model.rms_norm_eps.to_string();
            let expected =
                "1e-6, which the norms of the latents have: GGUF holds one number for all";
            return refuse("rms_norm_eps", found, expected.to_owned());
        }
        // llama.cpp decides by the number of layers whether queries have a latent
        let is_lite = matches!(
            (model.num_hidden_layers, model.vocab_size),
            (26 | 27, _) | (48, 128_256)
        );
        match mla.q_lora_rank {
            None if !is_lite => {
                let expected = "a rank, which llama.cpp requires unless 26 or 27 layers";
                return refuse("q_lora_rank", "null".into(), expected.to_owned());
            }
            Some(rank) if is_lite => {
                let expected = "null, as llama.cpp assumes for this number of layers";
                return refuse("q_lora_rank", rank.to_string(), expected.to_owned());
            }
            _ => {}
        }
        if config.latent_pairs == RotaryPairs::Halves {
            let expected = "true, the only order that llama.cpp has for deepseek2";
            return refuse("rope_interleave", "false".into(), expected.to_owned());
        }
    }
    if let Some(moe) = &model.moe
        && gguf.keys.contains(&"expert_shared_count")
        && moe.n_shared_experts == 0
    {
        let expected = "1 or more: llama.cpp has no graph of this architecture without them";
        return refuse("n_shared_experts", "0".into(), expected.to_owned());
    }
    if let Some(gqa) = &model.mixer.gqa
        && gqa.sliding_window.is_some()
    {
        let expected = "null, for llama.cpp has no window here";
        return refuse("sliding_window", "set".into(), expected.to_owned());
    }
    let mut computed = model.clone();
    config.family.in_gguf(&mut computed);
    let mut differences = Vec::new();
    if essence(model) != essence(&computed) {
        compare("", &json!(model), &json!(computed), &mut differences);
    }
    if let Some((field, found, expected)) = differences.first() {
        let architecture = gguf.architecture;
        let expected = format!("{expected}, which llama.cpp computes in `{architecture}`");
        return refuse(field, found.to_string(), expected);
    }
    let is_latent = model.mixer.mla.is_some();
    match &model.rope.rope_scaling {
        // llama.cpp scales the softmax of this architecture by the factor, also without YaRN
        Some(RopeScaling::Linear(linear)) if is_latent && linear.factor > 1.0 => {
            let expected = "default or yarn: llama.cpp multiplies the softmax scale of this family by (1 + 0.1 ln factor)^2";
            refuse("rope_scaling.type", "linear".into(), expected.to_owned())
        }
        // the factors are stored as a tensor, which only `llama` has
        Some(RopeScaling::Llama3(_)) if gguf.architecture != "llama" => {
            let expected = "default, linear or yarn";
            refuse("rope_scaling.type", "llama3".into(), expected.to_owned())
        }
        Some(RopeScaling::Yarn(yarn)) => match warmed_otherwise(yarn, is_latent) {
            Some((field, found, expected)) => refuse(field, found, expected),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Differences in YaRN's attention scaling, as field, value and expected value. llama.cpp scales rotated vectors by
/// `0.1 ln factor + 1`, or in `deepseek2` the softmax by a number in the file. transformers does the former without
/// `mscale_all_dim`, and in DeepSeek-V3 the latter with it.
fn warmed_otherwise(yarn: &Yarn, is_latent: bool) -> Option<(&'static str, String, String)> {
    let missing = || "missing".to_owned();
    if yarn.mscale != yarn.mscale_all_dim {
        let found = yarn.mscale.map_or_else(missing, |it| it.to_string());
        let expected = "`mscale_all_dim`, the only value that GGUF can hold";
        return Some(("mscale", found, expected.to_owned()));
    }
    let own = match yarn.mscale_all_dim {
        None if yarn.factor > 1.0 => 0.1 * yarn.factor.ln() + 1.0,
        _ => 1.0,
    };
    let stated = yarn.attention_factor.filter(|it| (it - own).abs() > 1e-6);
    if let Some(stated) = stated {
        let expected = format!("{own}, which llama.cpp computes from the factor");
        return Some((
            "rope_scaling.attention_factor",
            stated.to_string(),
            expected,
        ));
    }
    let field = "mscale_all_dim";
    match (is_latent, yarn.mscale_all_dim) {
        // without an extension nothing is scaled
        _ if yarn.factor <= 1.0 => None,
        (true, Some(_)) | (false, None) => None,
        (true, None) => {
            let expected = "a number, without which llama.cpp scales the softmax of this family";
            Some((field, missing(), expected.to_owned()))
        }
        (false, Some(mscale)) => {
            let expected = "none, for llama.cpp has no such key in this family";
            Some((field, mscale.to_string(), expected.to_owned()))
        }
    }
}
