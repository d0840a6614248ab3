//! Configuration and cost of [`Mla`](super::Mla).

use darkhorse_backends::quantized::BLOCK;
use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, PairFlops, Rotated, RowFormat, Rows};
use crate::model::saturating::{product, sum};

/// Configuration of [`Mla`](super::Mla).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlaConfig {
    /// Number of heads.
    pub num_attention_heads: usize,
    /// Width of the query latent; absent: queries are projected directly from the residual stream.
    #[serde(default)]
    pub q_lora_rank: Option<usize>,
    /// Width of the key-value latent, which is cached.
    pub kv_lora_rank: usize,
    /// Width of the part of queries and keys without rotary position, per head.
    pub qk_nope_head_dim: usize,
    /// Width of the part of queries and keys with rotary position; all heads share this part of the key.
    pub qk_rope_head_dim: usize,
    /// Width of a value, per head.
    pub v_head_dim: usize,
    /// Epsilon of the norms of the latents: 1e-6 in transformers, whatever the model's `rms_norm_eps`.
    #[serde(default = "latent_norm_eps")]
    pub latent_norm_eps: f64,
}

fn latent_norm_eps() -> f64 {
    1e-6
}

impl MlaConfig {
    /// Output width of `kv_b_proj`.
    pub(crate) fn up_width(&self) -> usize {
        self.num_attention_heads * (self.qk_nope_head_dim + self.v_head_dim)
    }

    /// Whether `kv_b_proj` can be quantized: it is used per head, so no block may span two heads or key and value.
    pub(crate) fn up_projection_has_blocks(&self) -> bool {
        let parts = [self.qk_nope_head_dim, self.v_head_dim];
        parts.iter().all(|width| width.is_multiple_of(BLOCK))
    }

    /// Width of a query or key, per head.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }
}

impl MixerSpec for MlaConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        let widths = [
            ("num_attention_heads", self.num_attention_heads),
            ("q_lora_rank", self.q_lora_rank.unwrap_or(1)),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
        ];
        for (field, value) in widths {
            ModelConfigError::in_range(field, value, 1, MAX_SIZE)?;
        }
        ModelConfigError::multiple("qk_rope_head_dim", self.qk_rope_head_dim, 2)?;
        ModelConfigError::positive("latent_norm_eps", self.latent_norm_eps)
    }

    fn rotated(&self) -> Option<Rotated> {
        Some(Rotated {
            field: "qk_rope_head_dim",
            dims: self.qk_rope_head_dim,
        })
    }

    fn block_widths(&self) -> Vec<(&'static str, usize)> {
        vec![
            (
                "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)",
                self.num_attention_heads * self.qk_head_dim(),
            ),
            ("q_lora_rank", self.q_lora_rank.unwrap_or(0)),
        ]
    }

    /// Counts whole sequences in the expanded form and decoding in the absorbed form.
    fn cost(&self, hidden: usize) -> MixerCost {
        let (heads, rank) = (self.num_attention_heads, self.kv_lora_rank);
        let query = heads * self.qk_head_dim();
        let latent = rank + self.qk_rope_head_dim;
        let mut projections = match self.q_lora_rank {
            Some(rank) => vec![[hidden, rank], [rank, query]],
            None => vec![[hidden, query]],
        };
        projections.extend([[hidden, latent], [heads * self.v_head_dim, hidden]]);
        let up = [rank, self.up_width()];
        let mut others = 0;
        if self.up_projection_has_blocks() {
            projections.push(up);
        } else {
            others = product(up);
        }
        // projected, rotated and joined queries and keys; values and outputs
        let query_key = product([6, query]);
        let value = product([3, heads, self.v_head_dim]);
        let latents = product([2, self.q_lora_rank.unwrap_or(0) + rank]);
        MixerCost {
            projections,
            others,
            norms: (self.q_lora_rank.unwrap_or(0) + rank) as u64,
            pair_flops: PairFlops {
                whole: product([2, heads, self.qk_head_dim() + self.v_head_dim]),
                decoding: product([2, heads, rank + latent]),
            },
            rows: vec![Rows {
                heads: 1,
                width: latent,
                format: RowFormat::AsAsked,
            }],
            activations: sum([query_key, value, latents]),
            ..MixerCost::default()
        }
    }
}
