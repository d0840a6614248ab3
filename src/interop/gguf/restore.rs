//! `config.json` from the metadata of a GGUF file: what `metadata` writes, read back.

use serde_json::{Map, Value, json};

use super::blocks::GgmlType;
use super::entry::ROPE_FREQS;
use super::keys::Keys;
use super::llama3::Llama3;
use super::reader::GgufFile;
use super::rope::YARN_NUMBERS;
use super::tokenizer_json;
use super::value::GgufValue;
use crate::interop::InteropError;

/// The configuration of the file's architecture, with the fields that transformers 4 writes.
pub(super) fn config(file: &GgufFile) -> Result<Value, InteropError> {
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
    let mut fields = match architecture {
        "deepseek2" => deepseek_v3(&keys)?,
        "llama" => llama(&keys)?,
        other => return Err(general.error("architecture", other.to_owned(), "deepseek2 or llama")),
    };
    fields.insert(
        "tie_word_embeddings".to_owned(),
        file.tensor("output.weight").is_none().into(),
    );
    fields.insert("torch_dtype".to_owned(), torch_dtype(file).into());
    let tokenizer = Keys::of_tokenizer(file);
    // a tokenizer without a key has no such token, not the family's
    let has_tokenizer = tokenizer_json::is_there(file);
    let bos = tokenizer.optional_count("bos_token_id")?;
    if has_tokenizer || bos.is_some() {
        fields.insert("bos_token_id".to_owned(), bos.into());
    }
    let mut ends = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        if let Some(id) = tokenizer.optional_count(name)?
            && !ends.contains(&id)
        {
            ends.push(id);
        }
    }
    let ends = match ends[..] {
        [] if has_tokenizer => Some(Value::Null),
        [] => None,
        [end] => Some(end.into()),
        _ => Some(ends.into()),
    };
    fields.extend(ends.map(|ends| ("eos_token_id".to_owned(), ends)));
    Ok(fields.into())
}

impl Keys<'_> {
    /// The first size of the embedding, if no key says it.
    fn vocab_size(&self) -> Result<Value, InteropError> {
        match (
            self.optional_count("vocab_size")?,
            self.file.tensor("token_embd.weight"),
        ) {
            (Some(size), _) => Ok(size.into()),
            (None, Some((tensor, _))) => Ok(tensor.shape[0].into()),
            (None, None) => Err(self.missing("vocab_size", "a whole number")),
        }
    }

    /// The size of a head in `deepseek2`. Older files have it under the name that is the latent's since.
    fn head_size(&self, key: &str) -> Result<u32, InteropError> {
        let newer = format!("{key}_mla");
        if self.has_old_kv_b() && self.optional_count(&newer)?.is_none() {
            return self.count(key);
        }
        self.count(&newer)
    }

    /// Whether keys and values come from one tensor, as before llama.cpp computed them from the latent.
    fn has_old_kv_b(&self) -> bool {
        self.file.tensor("blk.0.attn_kv_b.weight").is_some()
    }

    /// A count less a part of it.
    fn rest(&self, key: &str, part: u32) -> Result<u32, InteropError> {
        let whole = self.head_size(key)?;
        whole
            .checked_sub(part)
            .ok_or_else(|| self.error(key, whole.to_string(), "no less than its rotary part"))
    }

    /// Fields that both architectures have.
    fn common(
        &self,
        architectures: &str,
        model_type: &str,
    ) -> Result<Map<String, Value>, InteropError> {
        let fields = json!({
            "architectures": [architectures],
            "model_type": model_type,
            "attention_dropout": 0.0,
            "vocab_size": self.vocab_size()?,
            "hidden_size": self.count("embedding_length")?,
            "intermediate_size": self.count_of_layers("feed_forward_length")?,
            "num_hidden_layers": self.count("block_count")?,
            "num_attention_heads": self.count_of_layers("attention.head_count")?,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": self.count("context_length")?,
            "rms_norm_eps": self.number("attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.optional_number("rope.freq_base")?.unwrap_or(1e4),
            "use_cache": true,
        });
        Ok(into_map(fields))
    }
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn deepseek_v3(keys: &Keys<'_>) -> Result<Map<String, Value>, InteropError> {
    let rope_dim = keys.count("rope.dimension_count")?;
    let scoring_func = match keys.optional_count("expert_gating_func")? {
        // llama.cpp takes a missing key for softmax.
        None | Some(1) => "softmax",
        Some(2) => "sigmoid",
        Some(other) => {
            return Err(keys.error(
                "expert_gating_func",
                other.to_string(),
                "1 (softmax) or 2 (sigmoid)",
            ));
        }
    };
    let mut fields = keys.common("DeepseekV3ForCausalLM", "deepseek_v3")?;
    fields.extend(into_map(json!({
        "attention_bias": false,
        "num_key_value_heads": fields["num_attention_heads"],
        "moe_intermediate_size": keys.count("expert_feed_forward_length")?,
        "n_shared_experts": keys.count("expert_shared_count")?,
        "n_routed_experts": keys.count("expert_count")?,
        "num_experts_per_tok": keys.count("expert_used_count")?,
        "n_group": keys.optional_count("expert_group_count")?.unwrap_or(1),
        "topk_group": keys.optional_count("expert_group_used_count")?.unwrap_or(1),
        "topk_method": "noaux_tc",
        "scoring_func": scoring_func,
        "norm_topk_prob": keys.get("expert_weights_norm", GgufValue::as_bool, "true or false")?.unwrap_or(false),
        "routed_scaling_factor": keys.optional_number("expert_weights_scale")?.unwrap_or(1.0),
        "moe_layer_freq": 1,
        "first_k_dense_replace": keys.optional_count("leading_dense_block_count")?.unwrap_or(0),
        "num_nextn_predict_layers": 0,
        "kv_lora_rank": keys.count("attention.kv_lora_rank")?,
        "q_lora_rank": keys.optional_count("attention.q_lora_rank")?,
        "qk_rope_head_dim": rope_dim,
        "qk_nope_head_dim": keys.rest("attention.key_length", rope_dim)?,
        "v_head_dim": keys.head_size("attention.value_length")?,
    })));
    let mut scaling = rope_scaling(keys)?;
    if let (Some(multiplier), Value::Object(scaling)) = (
        keys.optional_number("rope.scaling.yarn_log_multiplier")?,
        &mut scaling,
    ) {
        // The key is an f32 of a tenth; back among its decimals, 0.0707 is 0.707 and not 0.7069999.
        let mscale = GgufValue::F32((multiplier / 0.1) as f32).as_f64();
        scaling.insert("mscale".to_owned(), mscale.into());
        scaling.insert("mscale_all_dim".to_owned(), mscale.into());
    }
    fields.insert("rope_scaling".to_owned(), scaling);
    Ok(fields)
}

fn llama(keys: &Keys<'_>) -> Result<Map<String, Value>, InteropError> {
    let experts = keys
        .optional_count("expert_count")?
        .filter(|&count| count > 0);
    let mut fields = match experts {
        None => keys.common("LlamaForCausalLM", "llama")?,
        Some(_) => keys.common("MixtralForCausalLM", "mixtral")?,
    };
    let heads = keys.count_of_layers("attention.head_count")?;
    let head_dim = match (
        keys.optional_count("attention.key_length")?,
        keys.optional_count("rope.dimension_count")?,
    ) {
        (Some(size), _) | (None, Some(size)) => Some(size),
        (None, None) => keys.count("embedding_length")?.checked_div(heads),
    };
    fields.insert(
        "num_key_value_heads".to_owned(),
        keys.optional_count_of_layers("attention.head_count_kv")?
            .unwrap_or(heads)
            .into(),
    );
    fields.insert("head_dim".to_owned(), head_dim.into());
    match experts {
        Some(count) => {
            fields.insert("num_local_experts".to_owned(), count.into());
            fields.insert(
                "num_experts_per_tok".to_owned(),
                keys.count("expert_used_count")?.into(),
            );
            fields.insert("sliding_window".to_owned(), Value::Null);
        }
        None => {
            for (field, tensor) in [
                ("attention_bias", "blk.0.attn_q.bias"),
                ("mlp_bias", "blk.0.ffn_gate.bias"),
            ] {
                fields.insert(field.to_owned(), keys.file.tensor(tensor).is_some().into());
            }
        }
    }
    let mut scaling = rope_scaling(keys)?;
    if let Some((tensor, bytes)) = keys.file.tensor(ROPE_FREQS) {
        let mut factors = Vec::new();
        tensor.ggml_type.decode(bytes, &mut factors);
        let theta = keys.optional_number("rope.freq_base")?.unwrap_or(1e4);
        let head_dim = head_dim.unwrap_or_default() as usize;
        let Some(llama3) = Llama3::from_factors(&factors, theta, head_dim) else {
            return Err(InteropError::Field {
                path: keys.file.path().to_owned(),
                field: ROPE_FREQS.to_owned(),
                found: "no llama3 scaling that is known here".to_owned(),
                expected: "one".to_owned(),
            });
        };
        scaling = json!({
            "rope_type": "llama3",
            "factor": llama3.factor,
            "low_freq_factor": llama3.low_freq_factor,
            "high_freq_factor": llama3.high_freq_factor,
            "original_max_position_embeddings": llama3.original_max_position_embeddings as u64,
        });
    }
    fields.insert("rope_scaling".to_owned(), scaling);
    Ok(fields)
}

/// The scaling that the keys tell; null if none.
fn rope_scaling(keys: &Keys<'_>) -> Result<Value, InteropError> {
    let kind = keys.get("rope.scaling.type", GgufValue::as_str, "a text")?;
    let mut fields = Map::new();
    match kind {
        None | Some("none") => return Ok(Value::Null),
        Some(kind @ ("linear" | "yarn")) => {
            let factor = keys.number("rope.scaling.factor")?;
            if kind == "linear" && keys.prefix == "deepseek2" && factor > 1.0 {
                let expected = "none or yarn: llama.cpp multiplies the softmax scale of this architecture by (1 + 0.1 ln factor)^2";
                return Err(keys.error("rope.scaling.type", kind.to_owned(), expected));
            }
            fields.insert("type".to_owned(), kind.into());
            fields.insert("factor".to_owned(), factor.into());
        }
        Some(other) => {
            return Err(keys.error(
                "rope.scaling.type",
                other.to_owned(),
                "none, linear or yarn",
            ));
        }
    }
    if kind == Some("yarn") {
        let original = keys.count("rope.scaling.original_context_length")?;
        fields.insert(
            "original_max_position_embeddings".to_owned(),
            original.into(),
        );
        // llama.cpp computes the first anew or multiplies by it, depending on its version
        for key in ["yarn_attn_factor", "attn_factor", "yarn_ext_factor"] {
            let key = format!("rope.scaling.{key}");
            if let Some(other) = keys.optional_number(&key)?.filter(|&it| it != 1.0) {
                return Err(keys.error(&key, other.to_string(), "1, or no such key"));
            }
        }
        for (field, key) in YARN_NUMBERS {
            if let Some(number) = keys.optional_number(&format!("rope.scaling.{key}"))? {
                fields.insert(field.to_owned(), number.into());
            }
        }
    }
    Ok(fields.into())
}

/// The type that the embedding is read as.
fn torch_dtype(file: &GgufFile) -> &'static str {
    match file
        .tensor("token_embd.weight")
        .map(|(tensor, _)| tensor.ggml_type)
    {
        Some(GgmlType::F16) => "float16",
        Some(GgmlType::Bf16) => "bfloat16",
        _ => "float32",
    }
}
