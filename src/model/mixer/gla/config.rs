//! Configuration and cost of [`Gla`](super::Gla).

use darkhorse_backends::linear_attention::{HeadSharing, UpdateRule};
use serde::{Deserialize, Serialize};

use crate::model::cache::REVERSIBLE;
use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, Rotated, State};
use crate::model::saturating::{product, sum};

/// Configuration of [`Gla`](super::Gla).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlaConfig {
    /// Number of heads, each with its own state.
    pub num_heads: usize,
    /// Number of query heads, a divisor of `num_heads`.
    pub num_query_heads: usize,
    /// Number of key heads, a divisor of `num_heads`.
    pub num_key_heads: usize,
    /// Number of value heads, a divisor of `num_heads`.
    pub num_value_heads: usize,
    /// Assignment of query, key and value heads to states, where there are fewer of them.
    #[serde(default)]
    pub head_sharing: HeadSharing,
    /// Width of a query or key.
    pub key_head_dim: usize,
    /// Width of a value.
    pub value_head_dim: usize,
    /// Kernel size of the convolutions, in tokens.
    #[serde(default = "defaults::conv_kernel_size")]
    pub conv_kernel_size: usize,
    /// Number of leading dimensions of queries and keys with rotary positions, paired as halves; 0: none.
    #[serde(default)]
    pub rotary_dim: usize,
    /// Normalization of queries and keys.
    #[serde(default)]
    pub qk_norm: QkNorm,
    /// Computation of the decay.
    #[serde(default)]
    pub decay: DecayConfig,
    /// Whether the projection to the write strengths has a bias.
    #[serde(default)]
    pub write_bias: bool,
    /// Update rule of the state.
    #[serde(default)]
    pub rule: UpdateRule,
    /// Update rule during training; defaults to `rule`.
    #[serde(default)]
    pub training_rule: Option<UpdateRule>,
    /// Epsilon of the output norm, added to the mean square.
    #[serde(default = "defaults::norm_eps")]
    pub norm_eps: f64,
}

mod defaults {
    pub(super) fn conv_kernel_size() -> usize {
        4
    }

    pub(super) fn norm_eps() -> f64 {
        1e-5
    }
}

/// Normalization of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// `x / (|x| + 1e-6)`.
    Length,
    /// `x / sqrt(|x|^2 + 1e-6)`.
    #[default]
    SquaredLength,
    /// RMSNorm with a weight, eps 1e-5.
    Rms,
}

/// Logarithm of the decay of a state, per head.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayConfig {
    /// `-exp(A_log) softplus(x W + dt_bias)` (Mamba-2).
    #[default]
    Softplus,
    /// `log_sigmoid(x W + b) / normalizer` (gated linear attention).
    LogSigmoid {
        /// Divisor of the logarithm.
        normalizer: f64,
    },
}

impl GlaConfig {
    /// Total widths of queries, keys, values and outputs per token.
    pub(crate) fn widths(&self) -> [usize; 4] {
        [
            self.num_query_heads * self.key_head_dim,
            self.num_key_heads * self.key_head_dim,
            self.num_value_heads * self.value_head_dim,
            self.num_heads * self.value_head_dim,
        ]
    }
}

impl MixerSpec for GlaConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_heads", self.num_heads),
            ("num_query_heads", self.num_query_heads),
            ("num_key_heads", self.num_key_heads),
            ("num_value_heads", self.num_value_heads),
            ("key_head_dim", self.key_head_dim),
            ("value_head_dim", self.value_head_dim),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, MAX_SIZE)?;
        }
        ModelConfigError::in_range("conv_kernel_size", self.conv_kernel_size, 2, MAX_SIZE)?;
        ModelConfigError::in_range("rotary_dim", self.rotary_dim, 0, self.key_head_dim)?;
        let heads = self.num_heads;
        let multiples = [
            ("num_heads", heads, self.num_query_heads),
            ("num_heads", heads, self.num_key_heads),
            ("num_heads", heads, self.num_value_heads),
            ("rotary_dim", self.rotary_dim, 2),
        ];
        for (field, value, of) in multiples {
            ModelConfigError::multiple(field, value, of)?;
        }
        for rule in [Some(self.rule), self.training_rule].into_iter().flatten() {
            if let UpdateRule::ChunkDelta { chunk } = rule {
                ModelConfigError::in_range("rule.chunk_delta.chunk", chunk, 1, MAX_SIZE)?;
            }
        }
        ModelConfigError::positive("norm_eps", self.norm_eps)?;
        match self.decay {
            DecayConfig::Softplus => Ok(()),
            DecayConfig::LogSigmoid { normalizer } => {
                ModelConfigError::positive("decay.log_sigmoid.normalizer", normalizer)
            }
        }
    }

    fn rotated(&self) -> Option<Rotated> {
        Some(Rotated {
            field: "rotary_dim",
            dims: self.rotary_dim,
        })
    }

    /// Norm weights of heads count as weights of the mixer, not as norms.
    fn cost(&self, hidden: usize) -> MixerCost {
        let heads = self.num_heads;
        let [query, key, value, output] = self.widths();
        let channels = query + key + value;
        let convolutions = product([channels, self.conv_kernel_size]);
        let decay = match self.decay {
            DecayConfig::Softplus => 2 * heads,
            DecayConfig::LogSigmoid { .. } => heads,
        };
        let write_bias = if self.write_bias { heads } else { 0 };
        let qk_norm = match self.qk_norm {
            QkNorm::Rms => 2 * self.key_head_dim,
            QkNorm::Length | QkNorm::SquaredLength => 0,
        };
        let norms = qk_norm + self.value_head_dim;
        // projected and convolved; keys and values of every state; outputs with and without gate
        let inner = product([4, channels]);
        let shared = product([2, heads, self.key_head_dim]);
        MixerCost {
            projections: vec![
                [hidden, query],
                [hidden, key],
                [hidden, value],
                [hidden, heads],
                [hidden, heads],
                [hidden, output],
                [output, hidden],
            ],
            others: sum([convolutions, (decay + write_bias + norms) as u64]),
            // reads and writes of the state
            token_flops: product([5, heads, self.key_head_dim, self.value_head_dim]),
            state: self.state(),
            activations: sum([inner, shared, product([6, output])]),
            ..MixerCost::default()
        }
    }
}

impl GlaConfig {
    /// The current state and convolution inputs, those before the last extension, and the inputs of a short
    /// extension, which allow to take it back.
    fn state(&self) -> State {
        let heads = self.num_heads;
        let [query, key, value, _] = self.widths();
        let channels = query + key + value;
        let tail = self.conv_kernel_size - 1;
        let state = product([heads, self.key_head_dim, self.value_head_dim]);
        // query, key, value, decay and write strength of every position
        let given = product([
            REVERSIBLE,
            heads,
            2 * self.key_head_dim + self.value_head_dim + 2,
        ]);
        State {
            activations: product([2 * tail + REVERSIBLE + tail, channels]),
            f32: sum([state, state, given]),
        }
    }
}
