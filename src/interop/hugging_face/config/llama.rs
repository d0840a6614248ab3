//! Configuration of the `llama` family.

use safetensors::Dtype;
use serde_json::json;

use super::fields::{Fields, dtype_name};
use super::{Entries, Fp8Quantization, HfRope, TokenIds};
use crate::interop::InteropError;

/// A dense decoder with grouped-query attention (<https://arxiv.org/abs/2302.13971>).
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary positions.
    pub rope: HfRope,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward layers have biases.
    pub mlp_bias: bool,
    /// Whether the head is the transposed embedding table.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Special tokens.
    pub token_ids: TokenIds,
    /// Type of the weights.
    pub dtype: Option<Dtype>,
    /// How the weights are quantized, if they are.
    pub quantization: Option<Fp8Quantization>,
}

impl LlamaConfig {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, InteropError> {
        fields.only("hidden_act", json!("silu"))?;
        let heads = Heads::parse(fields, None)?;
        let max_position_embeddings = fields.size_or("max_position_embeddings", 2048)?;
        Ok(Self {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads: heads.queries,
            num_key_value_heads: heads.keys,
            head_dim: heads.dim,
            max_position_embeddings,
            rms_norm_eps: fields.positive_or("rms_norm_eps", 1e-6)?,
            rope: HfRope::parse(fields, 10_000.0, max_position_embeddings)?,
            attention_bias: fields.flag_or("attention_bias", false)?,
            mlp_bias: fields.flag_or("mlp_bias", false)?,
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
            initializer_range: fields.positive_or("initializer_range", 0.02)?,
            token_ids: TokenIds::parse(fields, 1, 2)?,
            dtype: fields.dtype()?,
            quantization: Fp8Quantization::of(fields)?,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = vec![
            ("architectures", json!(["LlamaForCausalLM"])),
            ("model_type", json!("llama")),
            ("attention_bias", json!(self.attention_bias)),
            ("attention_dropout", json!(0.0)),
            ("mlp_bias", json!(self.mlp_bias)),
            ("bos_token_id", json!(self.token_ids.bos)),
            ("eos_token_id", self.token_ids.eos_json()),
        ];
        entries.extend(self.token_ids.pad_entry());
        entries.extend([
            ("vocab_size", json!(self.vocab_size)),
            ("hidden_size", json!(self.hidden_size)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("num_hidden_layers", json!(self.num_hidden_layers)),
            ("num_attention_heads", json!(self.num_attention_heads)),
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("head_dim", json!(self.head_dim)),
            ("hidden_act", json!("silu")),
            ("initializer_range", json!(self.initializer_range)),
            (
                "max_position_embeddings",
                json!(self.max_position_embeddings),
            ),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
        ]);
        entries.extend(self.rope.entries("rope_type"));
        entries.extend([
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("use_cache", json!(true)),
            ("torch_dtype", dtype_name(self.dtype)),
        ]);
        entries.extend(self.quantization.map(Fp8Quantization::entry));
        entries
    }
}

/// Heads of grouped-query attention.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) dim: usize,
}

impl Heads {
    /// Without `default_keys` there are as many key heads as query heads.
    pub(super) fn parse(
        fields: &Fields<'_>,
        default_keys: Option<usize>,
    ) -> Result<Self, InteropError> {
        let queries = fields.size("num_attention_heads")?;
        let default_keys = match fields.has("num_key_value_heads") {
            true => queries,
            false => default_keys.unwrap_or(queries),
        };
        let keys = fields.size_or("num_key_value_heads", default_keys)?;
        if !queries.is_multiple_of(keys) {
            let expected = format!("a divisor of num_attention_heads ({queries})");
            return Err(fields.error("num_key_value_heads", expected));
        }
        let hidden_size = fields.size("hidden_size")?;
        let dim = match fields.number("head_dim", 1)? {
            Some(dim) => dim,
            None if hidden_size.is_multiple_of(queries) => hidden_size / queries,
            None => {
                let expected = format!("a multiple of num_attention_heads ({queries})");
                return Err(fields.error("hidden_size", expected));
            }
        };
        match dim.is_multiple_of(2) {
            true => Ok(Self { queries, keys, dim }),
            false => Err(fields.error("head_dim", format!("an even number (it is {dim})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use crate::interop::hugging_face::HfConfig;

    fn parse(key: &str, value: Value) -> Result<HfConfig, String> {
        let mut json = json!({"model_type": "llama", "vocab_size": 100, "hidden_size": 48,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6});
        json[key] = value;
        HfConfig::parse(Path::new("c"), &json.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_keys_have_defaults() {
        let HfConfig::Llama(config) = parse("head_dim", Value::Null).unwrap() else {
            panic!("not a llama");
        };
        assert_eq!((config.head_dim, config.num_key_value_heads), (8, 6));
        assert_eq!(
            (config.rms_norm_eps, config.rope.rope_theta),
            (1e-6, 10_000.0)
        );
        assert!(!config.attention_bias && !config.mlp_bias && !config.tie_word_embeddings);
        assert_eq!(config.token_ids.eos, [2]);
    }

    #[test]
    fn heads_must_fit() {
        let cases = [
            (
                "num_key_value_heads",
                4,
                "`num_key_value_heads` is 4, expected a divisor",
            ),
            ("head_dim", 7, "`head_dim` is 7, expected an even number"),
            (
                "num_attention_heads",
                5,
                "`hidden_size` is 48, expected a multiple",
            ),
            ("vocab_size", 0, "`vocab_size` is 0"),
        ];
        for (key, value, message) in cases {
            let error = parse(key, json!(value)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let error = parse("hidden_act", json!("gelu")).unwrap_err();
        assert_eq!(error, "c: `hidden_act` is \"gelu\", expected \"silu\"");
    }
}
