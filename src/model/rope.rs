//! Rotary position embedding (RoPE) and its extensions to long contexts.
//!
//! <https://arxiv.org/abs/2104.09864>

mod scaling;

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::error::ModelConfigError;
pub use scaling::{Linear, Llama3, RopeScaling, Yarn};

/// Configuration of [`Rope`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the rotation frequencies.
    #[serde(default = "RopeConfig::default_theta")]
    pub rope_theta: f64,
    /// Scaling to a longer context than the model was trained with; absent: none.
    #[serde(default)]
    pub rope_scaling: Option<RopeScaling>,
}

impl RopeConfig {
    fn default_theta() -> f64 {
        10_000.0
    }

    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        scaling::positive("rope.rope_theta", self.rope_theta)?;
        match &self.rope_scaling {
            Some(scaling) => scaling
                .validate()
                .map_err(|error| error.within("rope.rope_scaling")),
            None => Ok(()),
        }
    }

    /// Factor on the softmax scale of [`Mla`](super::mixer::mla::Mla): the square of YaRN's temperature if
    /// `mscale_all_dim` is set, else 1. Other mixers do not use it.
    pub fn softmax_factor(&self) -> f64 {
        match &self.rope_scaling {
            Some(RopeScaling::Yarn(yarn)) => match yarn.mscale_all_dim {
                Some(all) if all != 0.0 => yarn.temperature(all).powi(2),
                _ => 1.0,
            },
            Some(RopeScaling::Llama3(_) | RopeScaling::Linear(_)) | None => 1.0,
        }
    }
}

/// Pairing of the `dim` rotated dimensions of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryPairs {
    /// Neighbouring dimensions, `(0, 1), (2, 3), ...`
    #[default]
    Neighbours,
    /// Dimensions `(j, j + dim / 2)`.
    Halves,
}

/// Computes rotations from positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Rotation frequency of every pair in radians per position, `[dim / 2]`.
    frequencies: Vec<f32>,
    magnitude: f64,
}

impl Rope {
    /// Frequencies for `dim` rotated dimensions.
    pub fn new(config: &RopeConfig, dim: usize) -> Self {
        // in f32 step by step, as in transformers: the last bit of a frequency matters at late positions
        let period = |pair: usize| {
            let exponent = (2 * pair) as f32 / dim as f32;
            config.rope_theta.powf(exponent.into()) as f32
        };
        let periods = (0..dim / 2).map(period);
        let frequencies = match &config.rope_scaling {
            None => periods.map(|period| 1.0 / period).collect(),
            Some(RopeScaling::Yarn(yarn)) => {
                let kept = yarn.kept(config.rope_theta, dim);
                let mix = |(period, kept): (f32, f32)| {
                    1.0 / (yarn.factor as f32 * period) * (1.0 - kept) + 1.0 / period * kept
                };
                periods.zip(kept).map(mix).collect()
            }
            Some(RopeScaling::Llama3(llama)) => {
                let mix = |period: f32| {
                    let plain = 1.0 / period;
                    let kept = llama.kept(plain);
                    plain / llama.factor as f32 * (1.0 - kept) + plain * kept
                };
                periods.map(mix).collect()
            }
            Some(RopeScaling::Linear(linear)) => {
                let stretched = |period: f32| 1.0 / period / linear.factor as f32;
                periods.map(stretched).collect()
            }
        };
        Self {
            frequencies,
            magnitude: match &config.rope_scaling {
                Some(RopeScaling::Yarn(yarn)) => yarn.magnitude(),
                Some(RopeScaling::Llama3(_) | RopeScaling::Linear(_)) | None => 1.0,
            },
        }
    }

    /// Rotations at the given positions.
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

/// Cosine and sine of the rotation angles of every position, `[batch, seq, dim / 2]` each.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
}

impl<B: Backend> Rotation<B> {
    /// Cosines and sines, `[batch, seq, dim / 2]` each.
    pub fn angles(&self) -> [Tensor<B, 3>; 2] {
        [self.cos.clone(), self.sin.clone()]
    }

    /// Rotations of a range of positions.
    pub fn rows(&self, range: Range<usize>) -> Self {
        let of = |angles: &Tensor<B, 3>| angles.clone().narrow(1, range.start, range.len());
        Self {
            cos: of(&self.cos),
            sin: of(&self.sin),
        }
    }
}

impl<B: Ops> Rotation<B> {
    /// Rotates the pairs `(0, 1), (2, 3), ...` of the last dimension.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, dim]`
    pub fn apply(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [cos, sin] = self.angles_in(input.dtype());
        B::rope(input, cos, sin)
    }

    /// Rotates the leading dimensions for which there are angles and copies the others.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, width]`
    pub fn apply_to_leading(&self, pairs: RotaryPairs, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, _, width] = input.dims();
        let [_, _, half] = self.cos.dims();
        let turned = 2 * half;
        match pairs {
            RotaryPairs::Neighbours if turned == width => self.apply(input),
            RotaryPairs::Neighbours => {
                let leading = self.apply(input.clone().narrow(3, 0, turned));
                let others = input.narrow(3, turned, width - turned);
                Tensor::cat(vec![leading, others], 3)
            }
            RotaryPairs::Halves => {
                let [cos, sin] = self.angles_in(input.dtype());
                B::rope_halves(input, cos, sin)
            }
        }
    }

    /// Cosine and sine in the given type.
    fn angles_in(&self, dtype: DType) -> [Tensor<B, 3>; 2] {
        [&self.cos, &self.sin].map(|it| it.clone().cast(dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(scaling: &str) -> RopeConfig {
        let json = format!(r#"{{"rope_theta": 500000.0, "rope_scaling": {scaling}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn assert_frequencies(config: &RopeConfig, expected: &[f32]) {
        let rope = Rope::new(config, 16);
        assert_eq!(rope.magnitude, 1.0);
        assert_eq!(rope.frequencies.len(), expected.len());
        for (got, expected) in rope.frequencies.iter().zip(expected) {
            assert!(
                (got / expected - 1.0).abs() < 1e-6,
                "{got}, expected {expected}"
            );
        }
    }

    const LLAMA3: &str = r#"{
        "type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256
    }"#;

    /// Expected values follow the three branches of the published code: two frequencies above 4 rotations in 256
    /// positions, one between, five below 1.
    #[test]
    fn llama3_keeps_short_waves_stretches_long_ones_and_blends_between() {
        let expected = [
            1.0,
            1.939_227_5e-1,
            1.053_823_3e-2,
            9.115_831e-4,
            1.767_767e-4,
            3.428_102_2e-5,
            6.647_87e-6,
            1.289_173_2e-6,
        ];
        assert_frequencies(&config(LLAMA3), &expected);
    }

    #[test]
    fn linear_divides_every_frequency() {
        let plain = Rope::new(&config("null"), 16).frequencies;
        let expected: Vec<f32> = plain.iter().map(|frequency| frequency / 4.0).collect();
        assert_frequencies(&config(r#"{"type": "linear", "factor": 4.0}"#), &expected);
    }

    /// Bits of transformers 5.23's `inv_freq`; a formula in f64 gives other bits.
    #[test]
    fn frequencies_have_the_bits_of_transformers() {
        let yarn = r#"{"type": "yarn", "factor": 6.0, "original_max_position_embeddings": 4096}"#;
        let linear = r#"{"type": "linear", "factor": 3.0}"#;
        for (scaling, pairs) in [
            (
                "null",
                [(1, 0x3e46_93b0), (3, 0x3bee_f74f), (4, 0x3ab9_5d21)],
            ),
            (
                linear,
                [(1, 0x3d84_6275), (3, 0x3b1f_4f8a), (4, 0x39f7_26d7)],
            ),
            (
                LLAMA3,
                [(1, 0x3e46_93b0), (3, 0x3a6e_f74f), (4, 0x3939_5d21)],
            ),
            (yarn, [(3, 0x3b54_6a0c), (5, 0x383f_b69f), (7, 0x35e6_b4de)]),
        ] {
            let frequencies = Rope::new(&config(scaling), 16).frequencies;
            for (pair, bits) in pairs {
                assert_eq!(frequencies[pair].to_bits(), bits, "{scaling}: {pair}");
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_path() {
        let message = |change: fn(&mut Llama3)| {
            let mut config = config(LLAMA3);
            let Some(RopeScaling::Llama3(llama)) = &mut config.rope_scaling else {
                unreachable!("it was just read");
            };
            change(llama);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|llama| llama.high_freq_factor = 1.0),
            "`rope.rope_scaling.high_freq_factor` is 1, expected more than `low_freq_factor` = 1"
        );
        assert_eq!(
            message(|llama| llama.factor = 0.0),
            "`rope.rope_scaling.factor` is 0, expected a positive number"
        );
    }
}
