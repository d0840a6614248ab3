//! Configuration of the `mixtral` family.

use safetensors::Dtype;
use serde_json::json;

use super::fields::{Fields, dtype_name};
use super::llama::Heads;
use super::{Entries, Fp8Quantization, HfRope, TokenIds};
use crate::interop::InteropError;

/// A decoder with grouped-query attention and softmax-routed experts (<https://arxiv.org/abs/2401.04088>).
/// The gates of a token are its experts' softmax over all experts, normalized to sum to one.
#[derive(Debug, Clone, PartialEq)]
pub struct MixtralConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of one expert.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
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
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary positions.
    pub rope: HfRope,
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

impl MixtralConfig {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, InteropError> {
        fields.only("hidden_act", json!("silu"))?;
        let heads = Heads::parse(fields, Some(8))?;
        let max_position_embeddings = fields.size_or("max_position_embeddings", 131_072)?;
        let num_local_experts = fields.size_or("num_local_experts", 8)?;
        let num_experts_per_tok = fields.size_or("num_experts_per_tok", 2)?;
        if num_experts_per_tok > num_local_experts {
            let expected = format!("1 to num_local_experts ({num_local_experts})");
            return Err(fields.error("num_experts_per_tok", expected));
        }
        Ok(Self {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads: heads.queries,
            num_key_value_heads: heads.keys,
            head_dim: heads.dim,
            num_local_experts,
            num_experts_per_tok,
            router_aux_loss_coef: fields.float("router_aux_loss_coef")?.unwrap_or(0.001),
            sliding_window: fields.number("sliding_window", 1)?,
            max_position_embeddings,
            rms_norm_eps: fields.positive_or("rms_norm_eps", 1e-5)?,
            rope: HfRope::parse(fields, 1_000_000.0, max_position_embeddings)?,
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
            initializer_range: fields.positive_or("initializer_range", 0.02)?,
            token_ids: TokenIds::parse(fields, 1, 2)?,
            dtype: fields.dtype()?,
            quantization: Fp8Quantization::of(fields)?,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = vec![
            ("architectures", json!(["MixtralForCausalLM"])),
            ("model_type", json!("mixtral")),
            ("attention_dropout", json!(0.0)),
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
            ("num_local_experts", json!(self.num_local_experts)),
            ("num_experts_per_tok", json!(self.num_experts_per_tok)),
            ("output_router_logits", json!(false)),
            ("router_aux_loss_coef", json!(self.router_aux_loss_coef)),
            ("router_jitter_noise", json!(0.0)),
            ("sliding_window", json!(self.sliding_window)),
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
        assert_eq!((config.rms_norm_eps, config.rope.rope_theta), (1e-5, 1e6));
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
