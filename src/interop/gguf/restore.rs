//! The model that a GGUF file's metadata describe; the inverse of `metadata`.

use std::collections::BTreeSet;

use safetensors::Dtype;

use super::blocks::GgmlType;
use super::keys::Keys;
use super::places::{KEYS, Of};
use super::reader::GgufFile;
use super::value::GgufValue;
use super::{ROPE_FREQS, llama3, tokenizer_json};
use crate::interop::InteropError;
use crate::interop::family::{FAMILIES, Family};
use crate::interop::hugging_face::{HfConfig, TokenIds};
use crate::model::mixer::gqa::Biased;
use crate::model::rope::{Linear, RopeScaling, Yarn};

/// Configuration of the file's model.
pub(super) fn config(file: &GgufFile) -> Result<HfConfig, InteropError> {
    let general = Keys {
        file,
        prefix: "general",
    };
    if let Some("adapter") = general.get("type", GgufValue::as_str, "a text")? {
        let expected =
            "a model: an adapter changes one, and is applied from PEFT's folder by `--adapter DIR`";
        return Err(general.error("type", "adapter".to_owned(), expected));
    }
    let architecture = general.text("architecture")?;
    let keys = Keys {
        file,
        prefix: architecture,
    };
    let family = family(&general, &keys)?;
    let mut config = HfConfig::blank(family)?;
    read(&mut config, &keys)?;
    config.validate(file.path())?;
    Ok(config)
}

/// The family of a model with this architecture.
fn family(general: &Keys<'_>, keys: &Keys<'_>) -> Result<&'static dyn Family, InteropError> {
    let architecture =
        |family: &&'static dyn Family| family.profile().gguf.map(|it| it.architecture);
    let mut is_known = false;
    for &family in FAMILIES {
        if architecture(&family) == Some(keys.prefix) {
            is_known = true;
            let has_experts = keys.optional_count("expert_count")?.unwrap_or(0) > 0;
            let fits = match family.fits_gguf(keys)? {
                Some(fits) => fits,
                None => HfConfig::blank(family)?.model.moe.is_some() == has_experts,
            };
            if fits {
                return Ok(family);
            }
        }
    }
    if is_known {
        let found = "one with parts that no family of it has".to_owned();
        return Err(general.error("architecture", found, "a model of a known family"));
    }
    let known: BTreeSet<&str> = FAMILIES.iter().filter_map(architecture).collect();
    let known = Vec::from_iter(known).join(" or ");
    Err(general.error("architecture", keys.prefix.to_owned(), &known))
}

/// Key of the number of multi-token prediction modules.
pub(super) const MODULES: &str = "nextn_predict_layers";

fn read(config: &mut HfConfig, keys: &Keys<'_>) -> Result<(), InteropError> {
    let (file, family) = (keys.file, config.family);
    let own = family.profile().gguf.map_or(&[][..], |gguf| gguf.keys);
    let model = &mut config.model;
    for key in KEYS {
        if key.of == Of::All || own.contains(&key.name) {
            key.read(keys, model)?;
        }
    }
    // the last blocks are multi-token prediction modules, which are left out
    let modules = keys.optional_count(MODULES)?.unwrap_or(0) as usize;
    model.num_hidden_layers = match model.num_hidden_layers.checked_sub(modules) {
        Some(layers) => layers,
        None => {
            let expected = format!("no more than the {} blocks", model.num_hidden_layers);
            return Err(keys.error(MODULES, modules.to_string(), &expected));
        }
    };
    let width = keys.count_of_layers("feed_forward_length")? as usize;
    *family.width(model) = width;
    model.intermediate_size = width;
    model.vocab_size = match (
        keys.optional_count("vocab_size")?,
        file.tensor("token_embd.weight"),
    ) {
        (Some(size), _) => size as usize,
        (None, Some((tensor, _))) => tensor.shape[0],
        (None, None) => return Err(keys.missing("vocab_size", "a whole number")),
    };
    if let Some(mla) = &mut model.mixer.mla {
        let rope_dim = keys.count("rope.dimension_count")?;
        mla.qk_rope_head_dim = rope_dim as usize;
        mla.qk_nope_head_dim = keys.rest("attention.key_length", rope_dim)? as usize;
        mla.v_head_dim = keys.head_size("attention.value_length")? as usize;
        // llama.cpp has one epsilon for all norms
        mla.latent_norm_eps = model.rms_norm_eps;
    }
    let has = |name: &str| file.tensor(name).is_some();
    if let Some(gqa) = &mut model.mixer.gqa {
        let shared = keys.optional_count_of_layers("attention.head_count_kv")?;
        gqa.num_key_value_heads = shared.map_or(gqa.num_attention_heads, |it| it as usize);
        let rotated = keys
            .optional_count("rope.dimension_count")?
            .map(|it| it as usize);
        let width = keys
            .optional_count("attention.key_length")?
            .map(|it| it as usize);
        let share = model.hidden_size.checked_div(gqa.num_attention_heads);
        gqa.head_dim = match (width, rotated) {
            (Some(dim), _) | (None, Some(dim)) => dim,
            (None, None) => share.unwrap_or(0),
        };
        if gqa.rotary_dim.is_some() {
            gqa.rotary_dim = rotated;
        }
        let has_output_bias = gqa.biased == Biased::Inputs || has("blk.0.attn_output.bias");
        gqa.attention_bias |= has("blk.0.attn_q.bias") && has_output_bias;
        let optional = family.profile().gguf.map_or(&[][..], |gguf| gguf.optional);
        gqa.qk_norm |= optional.contains(&"attn_q_norm") && has("blk.0.attn_q_norm.weight");
        model.mlp_bias |= has("blk.0.ffn_gate.bias");
    }
    model.rope.rope_scaling = rope_scaling(keys, model.mixer.mla.is_some())?;
    if let Some((tensor, bytes)) = file.tensor(ROPE_FREQS) {
        let mut factors = Vec::new();
        tensor.ggml_type.decode(bytes, &mut factors);
        let dim = model.mixer.gqa.as_ref().map_or(0, |gqa| gqa.head_dim);
        let found = llama3::from_factors(&factors, model.rope.rope_theta, dim);
        let Some(scaling) = found else {
            return Err(InteropError::Field {
                path: file.path().to_owned(),
                field: ROPE_FREQS.to_owned(),
                found: "no llama3 scaling that is known here".to_owned(),
                expected: "one".to_owned(),
            });
        };
        model.rope.rope_scaling = Some(RopeScaling::Llama3(scaling));
    }
    model.tie_word_embeddings = !has("output.weight");
    family.in_gguf(model);
    config.token_ids = token_ids(file, &config.token_ids)?;
    config.dtype = dtype(file);
    Ok(())
}

/// Special tokens of the file; `usual` has the family's defaults.
fn token_ids(file: &GgufFile, usual: &TokenIds) -> Result<TokenIds, InteropError> {
    let tokenizer = Keys::of_tokenizer(file);
    // if a file has a tokenizer without the key, there is no such token, rather than the family's
    let usual = (!tokenizer_json::is_there(file)).then_some(usual);
    let mut eos = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        if let Some(id) = tokenizer.optional_count(name)?
            && !eos.contains(&id)
        {
            eos.push(id);
        }
    }
    if let (Some(usual), true) = (usual, eos.is_empty()) {
        eos.clone_from(&usual.eos);
    }
    let bos = tokenizer.optional_count("bos_token_id")?;
    Ok(TokenIds {
        bos: bos.or_else(|| usual?.bos),
        eos,
        pad: None,
    })
}

impl Keys<'_> {
    /// Head size in `deepseek2`. Older files store it under the name that has since become the latent's.
    fn head_size(&self, key: &str) -> Result<u32, InteropError> {
        let newer = format!("{key}_mla");
        // older files have keys and values in one tensor, from before llama.cpp computed them from the latent
        let is_old = self.file.tensor("blk.0.attn_kv_b.weight").is_some();
        if is_old && self.optional_count(&newer)?.is_none() {
            return self.count(key);
        }
        self.count(&newer)
    }

    /// A head size minus a part of it.
    fn rest(&self, key: &str, part: u32) -> Result<u32, InteropError> {
        let whole = self.head_size(key)?;
        whole
            .checked_sub(part)
            .ok_or_else(|| self.error(key, whole.to_string(), "no less than its rotary part"))
    }
}

/// The rotary scaling in the keys. With latent attention it may have a softmax scale.
fn rope_scaling(keys: &Keys<'_>, is_latent: bool) -> Result<Option<RopeScaling>, InteropError> {
    let key = |key: &str| format!("rope.scaling.{key}");
    match keys.get(&key("type"), GgufValue::as_str, "a text")? {
        None | Some("none") => Ok(None),
        Some(kind @ "linear") => {
            let factor = keys.number(&key("factor"))?;
            if keys.prefix == "deepseek2" && factor > 1.0 {
                let expected = "none or yarn: llama.cpp multiplies the softmax scale of this architecture by (1 + 0.1 ln factor)^2";
                return Err(keys.error(&key("type"), kind.to_owned(), expected));
            }
            Ok(Some(RopeScaling::Linear(Linear { factor })))
        }
        Some("yarn") => {
            // depending on its version, llama.cpp recomputes the first or multiplies by it
            for name in ["yarn_attn_factor", "attn_factor", "yarn_ext_factor"] {
                if let Some(other) = keys.optional_number(&key(name))?.filter(|&it| it != 1.0) {
                    return Err(keys.error(&key(name), other.to_string(), "1, or no such key"));
                }
            }
            let number = |name: &str, default| {
                let number = keys.optional_number(&key(name))?;
                Ok::<f64, InteropError>(number.unwrap_or(default))
            };
            // the key is a tenth as an f32; its decimal form gives 0.0707 and so 0.707 rather than 0.7069999
            let multiplier = keys.optional_number(&key("yarn_log_multiplier"))?;
            let multiplier = multiplier.filter(|_| is_latent);
            let mscale = multiplier.and_then(|it| GgufValue::F32((it / 0.1) as f32).as_f64());
            Ok(Some(RopeScaling::Yarn(Yarn {
                factor: keys.number(&key("factor"))?,
                original_max_position_embeddings: keys.count(&key("original_context_length"))?
                    as usize,
                beta_fast: number("yarn_beta_fast", 32.0)?,
                beta_slow: number("yarn_beta_slow", 1.0)?,
                mscale,
                mscale_all_dim: mscale,
                attention_factor: None,
            })))
        }
        Some(other) => Err(keys.error(&key("type"), other.to_owned(), "none, linear or yarn")),
    }
}

/// Element type that the embedding is read as.
fn dtype(file: &GgufFile) -> Option<Dtype> {
    let embedding = file.tensor("token_embd.weight");
    Some(match embedding.map(|(tensor, _)| tensor.ggml_type) {
        Some(GgmlType::F16) => Dtype::F16,
        Some(GgmlType::Bf16) => Dtype::BF16,
        _ => Dtype::F32,
    })
}
