//! Rotary positions and their extension to long contexts by YaRN.
//!
//! RoPE: <https://arxiv.org/abs/2104.09864>; YaRN: <https://arxiv.org/abs/2309.00071>, section 3.4, with
//! DeepSeek-V3's `mscale` rule for the softmax scale.

use std::f64::consts::PI;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::error::ModelConfigError;

/// Configuration of [`Rope`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the rotation frequencies.
    #[serde(default = "RopeConfig::default_theta")]
    pub rope_theta: f64,
    /// How the trained context was extended.
    #[serde(default)]
    pub rope_scaling: Option<RopeScaling>,
}

/// An extension of the trained context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// YaRN.
    Yarn(Yarn),
}

/// Parameters of YaRN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// By how much the context grows.
    pub factor: f64,
    /// Context of the unextended model, in tokens.
    pub original_max_position_embeddings: usize,
    /// Rotations within the original context above which a frequency is kept.
    #[serde(default = "Yarn::default_beta_fast")]
    pub beta_fast: f64,
    /// Rotations below which a frequency is interpolated entirely.
    #[serde(default = "Yarn::default_beta_slow")]
    pub beta_slow: f64,
    /// Temperature on cosine and sine.
    #[serde(default)]
    pub mscale: Option<f64>,
    /// Temperature on the softmax.
    #[serde(default)]
    pub mscale_all_dim: Option<f64>,
}

impl Yarn {
    fn default_beta_fast() -> f64 {
        32.0
    }

    fn default_beta_slow() -> f64 {
        1.0
    }

    /// `0.1 * mscale * ln(factor) + 1`.
    fn temperature(&self, mscale: f64) -> f64 {
        match self.factor {
            factor if factor <= 1.0 => 1.0,
            factor => 0.1 * mscale * factor.ln() + 1.0,
        }
    }

    /// Factor on cosine and sine.
    fn magnitude(&self) -> f64 {
        match (self.mscale, self.mscale_all_dim) {
            (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                self.temperature(mscale) / self.temperature(all)
            }
            _ => self.temperature(1.0),
        }
    }

    /// How far each frequency is kept, from 0 (interpolated) to 1 (kept).
    fn kept(&self, theta: f64, dim: usize) -> Vec<f64> {
        let correction = |rotations: f64| {
            let original = self.original_max_position_embeddings as f64;
            dim as f64 * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln())
        };
        let low = correction(self.beta_fast).floor().max(0.0);
        let high = correction(self.beta_slow).ceil().min(dim as f64 - 1.0);
        let width = if high == low { 0.001 } else { high - low };
        (0..dim / 2)
            .map(|pair| 1.0 - ((pair as f64 - low) / width).clamp(0.0, 1.0))
            .collect()
    }
}

impl RopeConfig {
    fn default_theta() -> f64 {
        10_000.0
    }

    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        let mut positive = vec![("rope.rope_theta", self.rope_theta)];
        if let Some(RopeScaling::Yarn(yarn)) = &self.rope_scaling {
            positive.extend([
                ("rope.rope_scaling.factor", yarn.factor),
                ("rope.rope_scaling.beta_fast", yarn.beta_fast),
                ("rope.rope_scaling.beta_slow", yarn.beta_slow),
                (
                    "rope.rope_scaling.original_max_position_embeddings",
                    yarn.original_max_position_embeddings as f64,
                ),
            ]);
        }
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ModelConfigError::NotPositive {
                    field: field.into(),
                    value,
                });
            }
        }
        Ok(())
    }

    /// Factor on the softmax scale: the square of YaRN's temperature, if `mscale_all_dim` asks for it.
    pub fn softmax_factor(&self) -> f64 {
        match &self.rope_scaling {
            Some(RopeScaling::Yarn(yarn)) => match yarn.mscale_all_dim {
                Some(all) if all != 0.0 => yarn.temperature(all).powi(2),
                _ => 1.0,
            },
            None => 1.0,
        }
    }
}

/// Turns positions into rotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Angle per position of every pair of dimensions, `[dim / 2]`.
    frequencies: Vec<f32>,
    magnitude: f64,
}

impl Rope {
    /// Rotations of `dim` dimensions, by pairs.
    pub fn new(config: &RopeConfig, dim: usize) -> Self {
        let plain = (0..dim / 2)
            .map(|pair| config.rope_theta.powf(-2.0 * pair as f64 / dim as f64))
            .collect::<Vec<_>>();
        match &config.rope_scaling {
            None => Self {
                frequencies: plain
                    .into_iter()
                    .map(|frequency| frequency as f32)
                    .collect(),
                magnitude: 1.0,
            },
            Some(RopeScaling::Yarn(yarn)) => Self {
                frequencies: plain
                    .into_iter()
                    .zip(yarn.kept(config.rope_theta, dim))
                    .map(|(kept, share)| kept * share + kept / yarn.factor * (1.0 - share))
                    .map(|frequency| frequency as f32)
                    .collect(),
                magnitude: yarn.magnitude(),
            },
        }
    }

    /// The rotation at every position.
    ///
    /// # Shapes
    ///
    /// - positions: `[batch, seq]`
    pub fn at<B: Backend>(&self, positions: Tensor<B, 2, Int>) -> Rotation<B> {
        let device = positions.device();
        let pairs = self.frequencies.len();
        let frequencies = Tensor::<B, 3>::from_data(
            TensorData::new(self.frequencies.clone(), [1, 1, pairs]),
            &device,
        );
        let angles = positions.float().unsqueeze_dim::<3>(2) * frequencies;
        Rotation {
            cos: angles.clone().cos().mul_scalar(self.magnitude),
            sin: angles.sin().mul_scalar(self.magnitude),
        }
    }
}

/// Cosine and sine of every position, `[batch, seq, dim / 2]` each.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
}

impl<B: Ops> Rotation<B> {
    /// Rotates the pairs `(0, 1), (2, 3), ...` of the last dimension.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, dim]`
    pub fn apply(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        B::rope(input, self.cos.clone(), self.sin.clone())
    }
}
