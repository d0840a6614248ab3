//! RoPE scaling: which frequencies are kept and which are interpolated to extend the trained context.
//!
//! YaRN: <https://arxiv.org/abs/2309.00071>, section 3.4, with DeepSeek-V3's `mscale` rule for the softmax scale.
//! Llama 3: as in Llama 3.1 and transformers.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::model::error::ModelConfigError;

/// RoPE scaling method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// YaRN: frequencies by their number of rotations within the original context, and a temperature
    /// (<https://arxiv.org/abs/2309.00071>).
    Yarn(Yarn),
    /// Llama 3.1: frequencies by wavelength.
    Llama3(Llama3),
    /// Linear position interpolation: all frequencies by one factor (<https://arxiv.org/abs/2306.15595>).
    Linear(Linear),
}

/// Parameters of [`RopeScaling::Linear`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Ratio of the extended context to the original one.
    pub factor: f64,
}

/// Parameters of [`RopeScaling::Llama3`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llama3 {
    /// Ratio of the extended context to the original one.
    pub factor: f64,
    /// Frequencies with fewer rotations than this within the original context are fully interpolated.
    pub low_freq_factor: f64,
    /// Frequencies with more rotations than this are kept.
    pub high_freq_factor: f64,
    /// Context of the unextended model, in tokens.
    pub original_max_position_embeddings: usize,
}

impl Llama3 {
    /// Weight of the original frequency, from 0 (fully interpolated) to 1 (kept).
    pub(super) fn kept(&self, frequency: f32) -> f32 {
        let wavelength = (1.0 / frequency) * (2.0 * PI) as f32;
        let rotations = (1.0 / wavelength) * self.original_max_position_embeddings as f32;
        let width = (self.high_freq_factor - self.low_freq_factor) as f32;
        ((rotations - self.low_freq_factor as f32) / width).clamp(0.0, 1.0)
    }
}

/// Parameters of [`RopeScaling::Yarn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// Ratio of the extended context to the original one.
    pub factor: f64,
    /// Context of the unextended model, in tokens.
    pub original_max_position_embeddings: usize,
    /// Frequencies with more rotations than this within the original context are kept.
    #[serde(default = "Yarn::default_beta_fast")]
    pub beta_fast: f64,
    /// Frequencies with fewer rotations than this are fully interpolated.
    #[serde(default = "Yarn::default_beta_slow")]
    pub beta_slow: f64,
    /// Temperature coefficient of cosine and sine.
    #[serde(default)]
    pub mscale: Option<f64>,
    /// Temperature coefficient of the softmax.
    #[serde(default)]
    pub mscale_all_dim: Option<f64>,
    /// Factor on cosine and sine; absent: derived from `factor` and the temperature coefficients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
}

impl Yarn {
    fn default_beta_fast() -> f64 {
        32.0
    }

    fn default_beta_slow() -> f64 {
        1.0
    }

    /// YaRN's temperature, `0.1 * mscale * ln(factor) + 1`; 1 if `factor` is at most 1.
    pub(super) fn temperature(&self, mscale: f64) -> f64 {
        match self.factor {
            factor if factor <= 1.0 => 1.0,
            factor => 0.1 * mscale * factor.ln() + 1.0,
        }
    }

    /// Factor on cosine and sine.
    pub(super) fn magnitude(&self) -> f64 {
        if let Some(factor) = self.attention_factor {
            return factor;
        }
        match (self.mscale, self.mscale_all_dim) {
            (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                self.temperature(mscale) / self.temperature(all)
            }
            _ => self.temperature(1.0),
        }
    }

    /// Weight of every original frequency, from 0 (fully interpolated) to 1 (kept), `[dim / 2]`.
    pub(super) fn kept(&self, theta: f64, dim: usize) -> Vec<f32> {
        let correction = |rotations: f64| {
            let original = self.original_max_position_embeddings as f64;
            dim as f64 * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln())
        };
        let low = correction(self.beta_fast).floor().max(0.0);
        let high = correction(self.beta_slow).ceil().min(dim as f64 - 1.0);
        let width = if high == low { 0.001 } else { high - low };
        (0..dim / 2)
            .map(|pair| 1.0 - ((pair as f32 - low as f32) / width as f32).clamp(0.0, 1.0))
            .collect()
    }
}

impl RopeScaling {
    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        let original = "original_max_position_embeddings";
        match self {
            Self::Yarn(yarn) => {
                positive("factor", yarn.factor)?;
                positive("beta_fast", yarn.beta_fast)?;
                positive("beta_slow", yarn.beta_slow)?;
                if let Some(factor) = yarn.attention_factor {
                    positive("attention_factor", factor)?;
                }
                positive(original, yarn.original_max_position_embeddings as f64)
            }
            Self::Llama3(llama) => {
                positive("factor", llama.factor)?;
                positive("low_freq_factor", llama.low_freq_factor)?;
                positive("high_freq_factor", llama.high_freq_factor)?;
                if llama.high_freq_factor <= llama.low_freq_factor {
                    return Err(ModelConfigError::NotAbove {
                        field: "high_freq_factor".into(),
                        value: llama.high_freq_factor,
                        other: "low_freq_factor",
                        floor: llama.low_freq_factor,
                    });
                }
                positive(original, llama.original_max_position_embeddings as f64)
            }
            Self::Linear(linear) => positive("factor", linear.factor),
        }
    }
}

pub(super) fn positive(field: &str, value: f64) -> Result<(), ModelConfigError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(ModelConfigError::NotPositive {
            field: field.into(),
            value,
        })
    }
}
