//! Configuration and cost of [`Fox`](super::Fox).

use serde::{Deserialize, Serialize};

use crate::model::cache::REVERSIBLE;
use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, PairFlops, RowFormat, Rows, State};
use crate::model::saturating::{product, sum};

/// Configuration of [`Fox`](super::Fox).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoxConfig {
    /// Number of query, value and gate heads.
    pub num_attention_heads: usize,
    /// Number of key heads, each shared by `num_attention_heads / num_key_value_heads` neighbouring query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Kernel size of the convolutions of keys and values, in tokens.
    #[serde(default = "FoxConfig::default_conv_kernel_size")]
    pub conv_kernel_size: usize,
    /// Epsilon of the norms of heads, added to the mean square.
    #[serde(default = "FoxConfig::default_norm_eps")]
    pub norm_eps: f64,
}

impl FoxConfig {
    fn default_conv_kernel_size() -> usize {
        4
    }

    fn default_norm_eps() -> f64 {
        1e-6
    }
}

impl MixerSpec for FoxConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, MAX_SIZE)?;
        }
        ModelConfigError::in_range("conv_kernel_size", self.conv_kernel_size, 2, MAX_SIZE)?;
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        ModelConfigError::multiple("num_attention_heads", heads, shared)?;
        ModelConfigError::positive("norm_eps", self.norm_eps)
    }
    /// Norm weights of heads count as weights of the mixer, not as norms.
    fn cost(&self, hidden: usize) -> MixerCost {
        let (heads, taps) = (self.num_attention_heads, self.conv_kernel_size);
        let width = heads * self.head_dim;
        let shared = self.num_key_value_heads * self.head_dim;
        let norms = width + shared + self.head_dim;
        let of_heads = |heads: usize| Rows {
            heads,
            width: self.head_dim,
            format: RowFormat::AsAsked,
        };
        MixerCost {
            projections: vec![
                [hidden, width],
                [hidden, shared],
                [hidden, width],
                [hidden, heads],
                [hidden, width],
                [width, hidden],
            ],
            // the forget gates have a bias
            others: sum([product([shared + width, taps]), (heads + norms) as u64]),
            pair_flops: PairFlops::both(product([4, width])),
            rows: vec![
                of_heads(self.num_key_value_heads),
                of_heads(heads),
                // cumulative gates
                Rows {
                    heads,
                    width: 1,
                    format: RowFormat::F32,
                },
            ],
            state: State {
                // convolution inputs, for the longest extension that can be taken back
                activations: product([REVERSIBLE + taps - 1, shared + width]),
                // last cumulative gate
                f32: heads as u64,
            },
            activations: product([12, width]),
            ..MixerCost::default()
        }
    }
}
