//! Gated attention: grouped-query attention with an output gate, normalized queries and keys, and partial rotary
//! positions, as in Qwen3-Next.
//!
//! <https://qwen.ai/blog?id=qwen3-next>; the gate: <https://arxiv.org/abs/2505.06708>. It is a
//! [`Gqa`](super::gqa::Gqa) with its own section, so that a model can combine it with plain grouped-query attention.

use serde::{Deserialize, Serialize};

use super::gqa::GqaConfig;
use super::spec::{MixerCost, MixerSpec, Rotated};
use crate::model::error::ModelConfigError;
use crate::model::rope::RotaryPairs;

/// Configuration of gated attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedAttentionConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by `num_attention_heads / num_key_value_heads` neighbouring query
    /// heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of leading dimensions of queries and keys with rotary positions, paired as halves.
    pub rotary_dim: usize,
}

impl GatedAttentionConfig {
    /// The equivalent configuration of grouped-query attention.
    pub fn gqa(&self) -> GqaConfig {
        GqaConfig {
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            qk_norm: true,
            output_gate: true,
            rotary_dim: Some(self.rotary_dim),
            rotary_pairs: RotaryPairs::Halves,
            ..GqaConfig::default()
        }
    }
}

/// It has no `block_widths`: matrices whose rows are not whole blocks stay unquantized.
impl MixerSpec for GatedAttentionConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        self.gqa().validate()
    }

    fn rotated(&self) -> Option<Rotated> {
        self.gqa().rotated()
    }

    fn cost(&self, hidden: usize) -> MixerCost {
        self.gqa().cost(hidden)
    }
}
