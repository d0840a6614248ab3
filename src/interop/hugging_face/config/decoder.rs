//! What the configurations of all families have.

use safetensors::Dtype;
use serde_json::{Value, json};

use super::fields::{Fields, dtype_name};
use super::{Entries, Fp8Quantization, HfRope, TokenIds};
use crate::interop::InteropError;

/// A decoder, whatever its layers are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the dense feed-forward layers, in Mixtral of one expert.
    pub intermediate_size: usize,
    /// Number of decoder layers, MTP modules not counted.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm but those of DeepSeek's latents.
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

/// What a family takes for absent keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    /// Tokens that begin and end a document.
    pub(super) bos_eos: (u32, u32),
}

impl DecoderConfig {
    pub(super) fn parse(fields: &Fields<'_>, defaults: Defaults) -> Result<Self, InteropError> {
        fields.only("hidden_act", json!("silu"))?;
        let (bos, eos) = defaults.bos_eos;
        let max_position_embeddings =
            fields.size_or("max_position_embeddings", defaults.max_position_embeddings)?;
        Ok(Self {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")?,
            num_attention_heads: fields.size("num_attention_heads")?,
            max_position_embeddings,
            rms_norm_eps: fields.positive_or("rms_norm_eps", defaults.rms_norm_eps)?,
            rope: HfRope::parse(fields, defaults.rope_theta, max_position_embeddings)?,
            tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
            initializer_range: fields.positive_or("initializer_range", 0.02)?,
            token_ids: TokenIds::parse(fields, bos, eos)?,
            dtype: fields.dtype()?,
            quantization: Fp8Quantization::of(fields)?,
        })
    }

    /// All entries of a configuration, those of the `family` in their midst. `rope_kind` names the key of
    /// RoPE's kind.
    pub(super) fn entries(
        &self,
        (model_type, architecture): (&str, &str),
        rope_kind: &str,
        family: Entries,
    ) -> Entries {
        let mut entries: Entries = vec![
            ("architectures", json!([architecture])),
            ("model_type", json!(model_type)),
            ("attention_dropout", json!(0.0)),
            ("bos_token_id", json!(self.token_ids.bos)),
            ("eos_token_id", self.token_ids.eos_json()),
        ];
        entries.extend(self.token_ids.pad_entry());
        let count = |number: usize| -> Value { json!(number) };
        entries.extend([
            ("vocab_size", count(self.vocab_size)),
            ("hidden_size", count(self.hidden_size)),
            ("intermediate_size", count(self.intermediate_size)),
            ("num_hidden_layers", count(self.num_hidden_layers)),
            ("num_attention_heads", count(self.num_attention_heads)),
        ]);
        entries.extend(family);
        entries.extend([
            ("hidden_act", json!("silu")),
            ("initializer_range", json!(self.initializer_range)),
            (
                "max_position_embeddings",
                count(self.max_position_embeddings),
            ),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
        ]);
        entries.extend(self.rope.entries(rope_kind));
        entries.extend([
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("use_cache", json!(true)),
            ("torch_dtype", dtype_name(self.dtype)),
        ]);
        entries.extend(self.quantization.map(Fp8Quantization::entry));
        entries
    }
}
