//! Configuration and cost of [`Gqa`](super::Gqa).

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::mixer::spec::{MixerCost, MixerSpec, PairFlops, Rotated, RowFormat, Rows};
use crate::model::rope::RotaryPairs;
use crate::model::saturating::{product, sum};

/// Configuration of [`Gqa`](super::Gqa).
///
/// The default has no heads and is therefore not [valid](crate::model::ModelConfig::validate).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GqaConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by `num_attention_heads / num_key_value_heads` neighbouring query
    /// heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the projections have a bias.
    #[serde(default)]
    pub attention_bias: bool,
    /// Projections with a bias, if `attention_bias` is set.
    #[serde(default, skip_serializing_if = "GqaConfig::is_default")]
    pub biased: Biased,
    /// Number of positions that a query sees, its own included; absent: all earlier ones.
    #[serde(default)]
    pub sliding_window: Option<usize>,
    /// Whether queries and keys are normalized before rotary positions are applied (Qwen3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub qk_norm: bool,
    /// Values that are normalized together, if `qk_norm` is set.
    #[serde(default, skip_serializing_if = "GqaConfig::is_default")]
    pub qk_norm_over: NormOver,
    /// Bound to which queries, keys and values are clipped before rotary positions are applied (OLMoE); absent: no
    /// bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_qkv: Option<f64>,
    /// Whether the output is gated by `sigmoid(x W)` (Qwen3-Next).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_gate: bool,
    /// Number of leading dimensions of queries and keys with rotary positions; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_dim: Option<usize>,
    /// Pairing of the rotated dimensions.
    #[serde(default, skip_serializing_if = "GqaConfig::is_default")]
    pub rotary_pairs: RotaryPairs,
}

/// Projections of [`Gqa`](super::Gqa) with a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Biased {
    /// All projections (Llama).
    #[default]
    All,
    /// Query, key and value projections (Qwen2).
    Inputs,
}

/// Values of a query or key that are normalized together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOver {
    /// Values of one head (Qwen3).
    #[default]
    Head,
    /// Values of all heads (OLMoE).
    Heads,
}

impl GqaConfig {
    fn is_default<T: Default + PartialEq>(value: &T) -> bool {
        *value == T::default()
    }

    /// Whether this is the attention of Llama, Mistral and Mixtral.
    pub fn is_plain(&self) -> bool {
        !self.qk_norm
            && !self.output_gate
            && self.clip_qkv.is_none()
            && self.is_turned_whole()
            && self.rotary_pairs == RotaryPairs::Neighbours
            && (self.biased == Biased::All || !self.attention_bias)
    }

    /// Whether all dimensions of a head have rotary positions.
    pub fn is_turned_whole(&self) -> bool {
        self.rotary_dim.is_none_or(|dim| dim == self.head_dim)
    }

    /// Widths of the query norm and the key norm; `None` without norms.
    pub(super) fn norm_widths(&self) -> Option<[usize; 2]> {
        let heads = match self.qk_norm_over {
            NormOver::Head => [1, 1],
            NormOver::Heads => [self.num_attention_heads, self.num_key_value_heads],
        };
        self.qk_norm
            .then(|| heads.map(|heads| heads * self.head_dim))
    }

    /// Whether `o_proj` has a bias.
    pub fn has_output_bias(&self) -> bool {
        self.attention_bias && self.biased == Biased::All
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
        if let Some(clip) = self.clip_qkv {
            ModelConfigError::positive("clip_qkv", clip)?;
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
        // projected and rotated queries and keys, projected values; repeated keys and values, and outputs
        let mut activations = vec![product([5, query]), product([3, key])];
        let mut biases = query + 2 * key;
        if self.biased == Biased::All {
            biases += hidden;
        }
        let mut norms = 0;
        if let Some(widths) = self.norm_widths() {
            norms = widths.into_iter().sum();
            activations.push((query + key) as u64);
        }
        if self.clip_qkv.is_some() {
            activations.push((query + 2 * key) as u64);
        }
        if self.output_gate {
            projections.push([hidden, query]);
            biases += query;
            // the gate, its sigmoid, and the gated output
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::model::mixer::MixerKind;

    fn model() -> ModelConfig {
        serde_json::from_value(serde_json::json!({
            "vocab_size": 10, "hidden_size": 12, "num_hidden_layers": 2, "intermediate_size": 6,
            "max_position_embeddings": 64, "layer_types": ["gqa"], "rope": {},
            "mixer": {"gqa": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}}
        }))
        .unwrap()
    }

    #[test]
    fn options_that_are_not_used_are_not_written() {
        let section = serde_json::json!({
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
            "attention_bias": true, "sliding_window": null
        });
        let config: GqaConfig = serde_json::from_value(section.clone()).unwrap();
        assert!(config.is_plain());
        assert_eq!(serde_json::to_value(&config).unwrap(), section);
    }

    #[test]
    fn heads_that_do_not_divide_are_refused_by_name() {
        let message = |change: fn(&mut GqaConfig)| {
            let mut config = model();
            change(config.mixer.gqa.as_mut().unwrap());
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|gqa| gqa.num_key_value_heads = 3),
            "`mixer.gqa.num_attention_heads` is 4, expected a multiple of 3"
        );
        assert_eq!(
            message(|gqa| gqa.head_dim = 5),
            "`mixer.gqa.head_dim` is 5, expected a multiple of 2"
        );
        assert_eq!(
            message(|gqa| gqa.rotary_dim = Some(8)),
            "`mixer.gqa.rotary_dim` is 8, expected 2 to 6"
        );
        let mut hybrid = model();
        hybrid.mixer.mla = serde_json::from_value(serde_json::json!({
            "num_attention_heads": 2, "kv_lora_rank": 3, "qk_nope_head_dim": 4,
            "qk_rope_head_dim": 4, "v_head_dim": 4
        }))
        .unwrap();
        hybrid.layer_types = vec![MixerKind::Mla, MixerKind::Gqa];
        assert_eq!(
            hybrid.validate().unwrap_err().to_string(),
            "`mixer.gqa.head_dim` is 6, expected `mixer.mla.qk_rope_head_dim` = 4: \
             all layers share the rotations"
        );
        assert_eq!(
            message(|gqa| gqa.sliding_window = Some(0)),
            "`mixer.gqa.sliding_window` is 0, expected 1 to 1048576"
        );
        assert!(message(|gqa| gqa.clip_qkv = Some(0.0)).starts_with("`mixer.gqa.clip_qkv` is 0"));
    }
}
