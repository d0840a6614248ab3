//! The fields of `config.json` that decide which tensors there are.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::interop::InteropError;

/// The largest size that a model has. Products of two of them do not overflow.
const MAX_SIZE: u64 = 1 << 24;

/// A `config.json` whose fields are read one by one, with errors that name file and field.
pub(super) struct Config<'a> {
    path: PathBuf,
    fields: &'a Value,
}

impl<'a> Config<'a> {
    pub(super) fn new(path: &Path, fields: &'a Value) -> Self {
        Self {
            path: path.to_owned(),
            fields,
        }
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// The same, reading the object in `field` as a configuration of its own.
    pub(super) fn object(&self, field: &str) -> Option<Config<'a>> {
        Some(Config {
            path: self.path.clone(),
            fields: self.get(field).filter(|value| value.is_object())?,
        })
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, InteropError> {
        self.optional(field, Value::as_str, "a text")
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, InteropError> {
        Ok(self
            .optional(field, Value::as_bool, "true or false")?
            .unwrap_or(false))
    }

    pub(super) fn required_flag(&self, field: &str) -> Result<bool, InteropError> {
        self.optional(field, Value::as_bool, "true or false")?
            .ok_or_else(|| self.error(field, "missing", "true or false"))
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, InteropError> {
        self.optional(field, Value::as_f64, "a number")
    }

    pub(super) fn required_number(&self, field: &str) -> Result<f64, InteropError> {
        self.number(field)?
            .ok_or_else(|| self.error(field, "missing", "a number"))
    }

    /// A whole number that GGUF keeps in 32 bits.
    pub(super) fn count(&self, field: &str) -> Result<Option<u32>, InteropError> {
        self.optional(
            field,
            |value| value.as_u64()?.try_into().ok(),
            "a whole number below 2^32",
        )
    }

    pub(super) fn required_count(&self, field: &str) -> Result<u32, InteropError> {
        self.count(field)?
            .ok_or_else(|| self.error(field, "missing", "a whole number"))
    }

    /// The size of a dimension: 1 to 2^24.
    pub(super) fn size(&self, field: &str) -> Result<Option<usize>, InteropError> {
        let size = |value: &Value| value.as_u64().filter(|size| (1..=MAX_SIZE).contains(size));
        Ok(self
            .optional(field, size, "1 to 16777216")?
            .map(|size| size as usize))
    }

    pub(super) fn required_size(&self, field: &str) -> Result<usize, InteropError> {
        self.size(field)?
            .ok_or_else(|| self.error(field, "missing", "1 to 16777216"))
    }

    pub(super) fn error(
        &self,
        field: &str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> InteropError {
        InteropError::Field {
            path: self.path.clone(),
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn optional<T>(
        &self,
        field: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, InteropError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| self.error(field, value, expected)),
        }
    }
}

/// Families of models that have a GGUF architecture here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    DeepseekV3,
    Llama,
    Mixtral,
}

impl Family {
    /// The `general.architecture` of the family.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::DeepseekV3 => "deepseek2",
            Self::Llama | Self::Mixtral => "llama",
        }
    }
}

/// Sizes of all tensors of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) family: Family,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) attention: Attention,
    pub(super) intermediate_size: usize,
    pub(super) mlp_bias: bool,
    pub(super) experts: Option<Experts>,
    pub(super) tie_word_embeddings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// Multi-head latent attention.
    Mla {
        q_lora_rank: Option<usize>,
        dims: MlaDims,
    },
    /// Grouped-query attention.
    Gqa {
        num_key_value_heads: usize,
        head_dim: usize,
        bias: bool,
    },
}

/// Sizes within `kv_b_proj` and its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MlaDims {
    pub(super) kv_lora_rank: usize,
    pub(super) qk_nope_head_dim: usize,
    pub(super) qk_rope_head_dim: usize,
    pub(super) v_head_dim: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Experts {
    pub(super) count: usize,
    pub(super) intermediate_size: usize,
    /// Layers before the first that has experts.
    pub(super) first_layer: usize,
    /// Width of the shared experts together; none for mixtral.
    pub(super) shared_size: Option<usize>,
}

impl Layout {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, InteropError> {
        let family = match config.text("model_type")? {
            Some("deepseek_v3") => Family::DeepseekV3,
            Some("llama") => Family::Llama,
            Some("mixtral") => Family::Mixtral,
            Some(other) => {
                return Err(config.error("model_type", other, "deepseek_v3, llama or mixtral"));
            }
            None => {
                return Err(config.error("model_type", "missing", "deepseek_v3, llama or mixtral"));
            }
        };
        let hidden_size = config.required_size("hidden_size")?;
        let num_attention_heads = config.required_size("num_attention_heads")?;
        let num_hidden_layers = config.required_size("num_hidden_layers")?;
        let intermediate_size = config.required_size("intermediate_size")?;
        Ok(Self {
            family,
            vocab_size: config.required_size("vocab_size")?,
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            attention: match family {
                Family::DeepseekV3 => mla(config)?,
                Family::Llama | Family::Mixtral => {
                    gqa(config, family, hidden_size, num_attention_heads)?
                }
            },
            intermediate_size,
            mlp_bias: config.flag("mlp_bias")?,
            experts: match family {
                Family::Llama => None,
                Family::DeepseekV3 => Some(deepseek_experts(config)?),
                Family::Mixtral => Some(Experts {
                    count: config.required_size("num_local_experts")?,
                    intermediate_size,
                    first_layer: 0,
                    shared_size: None,
                }),
            },
            tie_word_embeddings: config.flag("tie_word_embeddings")?,
        })
    }
}

fn mla(config: &Config<'_>) -> Result<Attention, InteropError> {
    let dims = MlaDims {
        kv_lora_rank: config.required_size("kv_lora_rank")?,
        qk_nope_head_dim: config.required_size("qk_nope_head_dim")?,
        qk_rope_head_dim: config.required_size("qk_rope_head_dim")?,
        v_head_dim: config.required_size("v_head_dim")?,
    };
    Ok(Attention::Mla {
        q_lora_rank: config.size("q_lora_rank")?,
        dims,
    })
}

fn gqa(
    config: &Config<'_>,
    family: Family,
    hidden_size: usize,
    heads: usize,
) -> Result<Attention, InteropError> {
    let num_key_value_heads = match config.size("num_key_value_heads")? {
        Some(groups) => groups,
        None if family == Family::Llama => heads,
        None => return Err(config.error("num_key_value_heads", "missing", "1 to 16777216")),
    };
    let head_dim = match config.size("head_dim")? {
        Some(head_dim) => head_dim,
        None => hidden_size / heads,
    };
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(config.error(
            "head_dim",
            head_dim,
            "an even number, for the pairs of the rotary embedding",
        ));
    }
    Ok(Attention::Gqa {
        num_key_value_heads,
        head_dim,
        bias: config.flag("attention_bias")?,
    })
}

fn deepseek_experts(config: &Config<'_>) -> Result<Experts, InteropError> {
    let intermediate_size = config.required_size("moe_intermediate_size")?;
    Ok(Experts {
        count: config.required_size("n_routed_experts")?,
        intermediate_size,
        first_layer: config.required_count("first_k_dense_replace")? as usize,
        // llama.cpp has no graph of this architecture without a shared expert.
        shared_size: Some(intermediate_size * config.required_size("n_shared_experts")?),
    })
}
