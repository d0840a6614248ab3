//! What a [`Gqa`](super::Gqa) is, and what it costs.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, PairFlops, Rotated, RowFormat, Rows};
use crate::model::rope::RotaryPairs;
use crate::model::saturating::{product, sum};

/// Configuration of [`Gqa`](super::Gqa).
///
/// The default has no heads, which [`validate`](crate::model::ModelConfig::validate) refuses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GqaConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many neighbouring query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the projections have a bias.
    #[serde(default)]
    pub attention_bias: bool,
    /// How many positions a query sees, its own and those just before it; absent: the whole past.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// Whether queries and keys are normalized, head by head, before rotary positions turn them (Qwen3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub qk_norm: bool,
    /// Whether the output is gated by `sigmoid(x W)` (Qwen3-Next).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_gate: bool,
    /// How many leading dimensions of queries and keys rotary positions turn; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_dim: Option<usize>,
    /// Which of these dimensions are turned as a pair.
    #[serde(default, skip_serializing_if = "GqaConfig::is_default")]
    pub rotary_pairs: RotaryPairs,
}

impl GqaConfig {
    fn is_default<T: Default + PartialEq>(value: &T) -> bool {
        *value == T::default()
    }

    /// Whether it is the attention of Llama, Mistral and Mixtral.
    pub fn is_plain(&self) -> bool {
        let is_turned_whole = self.rotary_dim.is_none_or(|dim| dim == self.head_dim);
        !self.qk_norm
            && !self.output_gate
            && is_turned_whole
            && self.rotary_pairs == RotaryPairs::Neighbours
    }
}

impl MixerSpec for GqaConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, MAX_SIZE)?;
        }
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        ModelConfigError::multiple("num_attention_heads", heads, shared)?;
        match self.rotary_dim {
            Some(dim) => {
                ModelConfigError::in_range("rotary_dim", dim, 2, self.head_dim)?;
                ModelConfigError::multiple("rotary_dim", dim, 2)
            }
            None => ModelConfigError::multiple("head_dim", self.head_dim, 2),
        }
    }

    fn rotated(&self) -> Option<Rotated> {
        Some(match self.rotary_dim {
            Some(dims) => Rotated {
                field: "rotary_dim",
                dims,
            },
            None => Rotated {
                field: "head_dim",
                dims: self.head_dim,
            },
        })
    }

    fn block_widths(&self) -> Vec<(&'static str, usize)> {
        vec![
            (
                "num_attention_heads * head_dim",
                self.num_attention_heads * self.head_dim,
            ),
            (
                "num_key_value_heads * head_dim",
                self.num_key_value_heads * self.head_dim,
            ),
        ]
    }

    fn cost(&self, hidden: usize) -> MixerCost {
        let query = self.num_attention_heads * self.head_dim;
        let key = self.num_key_value_heads * self.head_dim;
        let mut projections = vec![
            [hidden, query],
            [hidden, key],
            [hidden, key],
            [query, hidden],
        ];
        // queries and keys projected and rotated, values projected; keys and values repeated, and outputs
        let mut activations = vec![product([5, query]), product([3, key])];
        let mut biases = query + 2 * key + hidden;
        let mut norms = 0;
        if self.qk_norm {
            norms = 2 * self.head_dim;
            activations.push((query + key) as u64);
        }
        if self.output_gate {
            projections.push([hidden, query]);
            biases += query;
            // the gate, its sigmoid, and what it leaves
            activations.push(product([3, query]));
        }
        MixerCost {
            projections,
            norms: norms as u64,
            others: if self.attention_bias {
                biases as u64
            } else {
                0
            },
            pair_flops: PairFlops::both(product([4, query])),
            window: self.sliding_window,
            rows: vec![Rows {
                heads: 2 * self.num_key_value_heads,
                width: self.head_dim,
                format: RowFormat::AsAsked,
            }],
            activations: sum(activations),
            ..MixerCost::default()
        }
    }
}
