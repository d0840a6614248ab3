//! Configuration of the `mixtral` family.

use serde_json::json;

use super::Entries;
use super::decoder::{DecoderConfig, Defaults};
use super::fields::Fields;
use super::llama::Heads;
use crate::interop::InteropError;

/// A decoder with grouped-query attention and softmax-routed experts (<https://arxiv.org/abs/2401.04088>).
/// The gates of a token are its experts' softmax over all experts, normalized to sum to one.
#[derive(Debug, Clone, PartialEq)]
pub struct MixtralConfig {
    /// What all families have.
    pub decoder: DecoderConfig,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of experts of a layer.
    pub num_local_experts: usize,
    /// Number of experts that each token visits.
    pub num_experts_per_tok: usize,
    /// Weight of the balancing loss.
    pub router_aux_loss_coef: f64,
    /// Number of past tokens that attention sees; none for all.
    pub sliding_window: Option<usize>,
}

impl MixtralConfig {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, InteropError> {
        let decoder = DecoderConfig::parse(
            fields,
            Defaults {
                max_position_embeddings: 131_072,
                rms_norm_eps: 1e-5,
                rope_theta: 1_000_000.0,
                bos_eos: (1, 2),
            },
        )?;
        let heads = Heads::parse(fields, Some(8))?;
        let num_local_experts = fields.size_or("num_local_experts", 8)?;
        let num_experts_per_tok = fields.size_or("num_experts_per_tok", 2)?;
        if num_experts_per_tok > num_local_experts {
            let expected = format!("1 to num_local_experts ({num_local_experts})");
            return Err(fields.error("num_experts_per_tok", expected));
        }
        Ok(Self {
            decoder,
            num_key_value_heads: heads.keys,
            head_dim: heads.dim,
            num_local_experts,
            num_experts_per_tok,
            router_aux_loss_coef: fields.float("router_aux_loss_coef")?.unwrap_or(0.001),
            sliding_window: fields.number("sliding_window", 1)?,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let family = vec![
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("head_dim", json!(self.head_dim)),
            ("num_local_experts", json!(self.num_local_experts)),
            ("num_experts_per_tok", json!(self.num_experts_per_tok)),
            ("output_router_logits", json!(false)),
            ("router_aux_loss_coef", json!(self.router_aux_loss_coef)),
            ("router_jitter_noise", json!(0.0)),
            ("sliding_window", json!(self.sliding_window)),
        ];
        let name = ("mixtral", "MixtralForCausalLM");
        self.decoder.entries(name, "rope_type", family)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use crate::interop::hugging_face::HfConfig;

    fn parse(key: &str, value: Value) -> Result<HfConfig, String> {
        let mut json = json!({"model_type": "mixtral", "vocab_size": 100, "hidden_size": 64,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 16});
        json[key] = value;
        HfConfig::parse(Path::new("c"), &json.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_keys_have_defaults() {
        let HfConfig::Mixtral(config) = parse("sliding_window", json!(4096)).unwrap() else {
            panic!("not a mixtral");
        };
        assert_eq!(
            (config.num_local_experts, config.num_experts_per_tok),
            (8, 2)
        );
        assert_eq!((config.num_key_value_heads, config.head_dim), (8, 4));
        assert_eq!(
            (config.decoder.rms_norm_eps, config.decoder.rope.rope_theta),
            (1e-5, 1e6)
        );
        assert_eq!(config.sliding_window, Some(4096));
        let HfConfig::Mixtral(config) = parse("num_key_value_heads", json!(null)).unwrap() else {
            panic!("not a mixtral");
        };
        assert_eq!(config.num_key_value_heads, 16);
    }

    #[test]
    fn no_more_experts_are_visited_than_there_are() {
        let error = parse("num_experts_per_tok", json!(9)).unwrap_err();
        assert_eq!(
            error,
            "c: `num_experts_per_tok` is 9, expected 1 to num_local_experts (8)"
        );
    }
}
