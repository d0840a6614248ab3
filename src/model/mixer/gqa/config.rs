//! What a [`Gqa`](super::Gqa) is, and what it costs.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, PairFlops, Rotated, RowFormat, Rows};
use crate::model::saturating::{product, sum};

/// Configuration of [`Gqa`](super::Gqa).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GqaConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many neighbouring query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; rotary positions turn all of it.
    pub head_dim: usize,
    /// Whether the four projections have a bias.
    #[serde(default)]
    pub attention_bias: bool,
    /// How many positions a query sees, its own and those just before it; absent: the whole past.
    #[serde(default)]
    pub sliding_window: Option<usize>,
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
        ModelConfigError::multiple("head_dim", self.head_dim, 2)
    }

    fn rotated(&self) -> Option<Rotated> {
        Some(Rotated {
            field: "head_dim",
            dims: self.head_dim,
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
        let biases = if self.attention_bias {
            query + 2 * key + hidden
        } else {
            0
        };
        // queries and keys projected and rotated, values projected; keys and values repeated, and outputs
        let activations = [product([5, query]), product([3, key])];
        MixerCost {
            projections: vec![
                [hidden, query],
                [hidden, key],
                [hidden, key],
                [query, hidden],
            ],
            others: biases as u64,
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
