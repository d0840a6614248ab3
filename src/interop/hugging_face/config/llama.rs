//! Configuration of the `llama` family.

use serde_json::json;

use super::Entries;
use super::decoder::{DecoderConfig, Defaults};
use super::fields::Fields;
use crate::interop::InteropError;

/// A dense decoder with grouped-query attention (<https://arxiv.org/abs/2302.13971>).
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// What all families have.
    pub decoder: DecoderConfig,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward layers have biases.
    pub mlp_bias: bool,
}

impl LlamaConfig {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, InteropError> {
        let decoder = DecoderConfig::parse(
            fields,
            Defaults {
                max_position_embeddings: 2048,
                rms_norm_eps: 1e-6,
                rope_theta: 10_000.0,
                bos_eos: (1, 2),
            },
        )?;
        let heads = Heads::parse(fields, None)?;
        Ok(Self {
            decoder,
            num_key_value_heads: heads.keys,
            head_dim: heads.dim,
            attention_bias: fields.flag_or("attention_bias", false)?,
            mlp_bias: fields.flag_or("mlp_bias", false)?,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let family = vec![
            ("attention_bias", json!(self.attention_bias)),
            ("mlp_bias", json!(self.mlp_bias)),
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("head_dim", json!(self.head_dim)),
        ];
        let name = ("llama", "LlamaForCausalLM");
        self.decoder.entries(name, "rope_type", family)
    }
}

/// Heads of grouped-query attention.
#[derive(Debug)]
pub(super) struct Heads {
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
            true => Ok(Self { keys, dim }),
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
            (config.decoder.rms_norm_eps, config.decoder.rope.rope_theta),
            (1e-6, 10_000.0)
        );
        assert!(!config.attention_bias && !config.mlp_bias && !config.decoder.tie_word_embeddings);
        assert_eq!(config.decoder.token_ids.eos, [2]);
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
