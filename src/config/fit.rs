//! Whether a model fits a device's memory, answered before anything is allocated.

use std::fmt;

use serde::Serialize;

use super::{Experiment, PRESETS};
use crate::model::ModelConfig;
use crate::model::cost::Dtype;

/// What a model is to be held in memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Generating text.
    Inference {
        /// Format of the weights.
        weights: Dtype,
        /// Format of the cache.
        cache: Dtype,
        /// Tokens in the cache.
        context: usize,
    },
    /// Training with AdamW.
    Training {
        /// Format of weights, gradients and activations.
        dtype: Dtype,
        /// Tokens of a micro-batch.
        tokens: usize,
    },
}

/// Bytes by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryNeeds {
    /// Weights, MTP modules included.
    pub weights_bytes: u64,
    /// The past of the context.
    pub cache_bytes: u64,
    /// Gradients.
    pub gradients_bytes: u64,
    /// Moments and master weights.
    pub optimizer_bytes: u64,
    /// What the backward pass needs of a micro-batch; an estimate.
    pub activations_bytes: u64,
}

/// The refusal of what cannot fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} takes {} of memory ({}), but there are {}; {}",
    purpose.name(),
    Bytes(needs.total()),
    needs.listed(),
    Bytes(*available_bytes),
    alternative(*largest_preset)
)]
pub struct DoesNotFit {
    /// What was asked for.
    pub purpose: Purpose,
    /// What it takes.
    pub needs: MemoryNeeds,
    /// What there is.
    pub available_bytes: u64,
    /// The largest preset that fits.
    pub largest_preset: Option<&'static str>,
}

/// Bytes in the unit that suits them, `9.71 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut amount = self.0 as f64;
        let mut unit = "B";
        for larger in units {
            if amount < 1024.0 {
                break;
            }
            amount /= 1024.0;
            unit = larger;
        }
        match unit {
            "B" => f.pad(&format!("{} B", self.0)),
            unit => f.pad(&format!("{amount:.2} {unit}")),
        }
    }
}

impl Purpose {
    fn name(&self) -> String {
        match self {
            Self::Inference {
                weights, context, ..
            } => format!("inference in {} over {context} tokens", weights.name()),
            Self::Training { dtype, tokens } => {
                format!("training in {} on {tokens} tokens at a time", dtype.name())
            }
        }
    }
}

impl MemoryNeeds {
    /// What `purpose` takes. Runtime, kernels' workspace and the prompt's activations are not counted.
    pub fn of(model: &ModelConfig, purpose: Purpose) -> Self {
        match purpose {
            Purpose::Inference {
                weights,
                cache,
                context,
            } => Self {
                weights_bytes: model.weight_bytes(weights),
                cache_bytes: model
                    .cache_bytes_per_token(cache)
                    .saturating_mul(context as u64),
                ..Default::default()
            },
            Purpose::Training { dtype, tokens } => Self {
                weights_bytes: model.weight_bytes(dtype),
                gradients_bytes: model.weight_bytes(dtype),
                optimizer_bytes: model.optimizer_bytes(dtype),
                activations_bytes: dtype.bytes(
                    model
                        .activation_values_per_token()
                        .saturating_mul(tokens as u64),
                ),
                ..Default::default()
            },
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.parts()
            .into_iter()
            .fold(0, |total, (_, bytes)| total.saturating_add(bytes))
    }

    fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("weights", self.weights_bytes),
            ("cache", self.cache_bytes),
            ("gradients", self.gradients_bytes),
            ("optimizer", self.optimizer_bytes),
            ("activations", self.activations_bytes),
        ]
    }

    fn listed(&self) -> String {
        let needed = self.parts().into_iter().filter(|&(_, bytes)| bytes > 0);
        let listed = needed.map(|(name, bytes)| format!("{name} {}", Bytes(bytes)));
        listed.collect::<Vec<_>>().join(", ")
    }
}

/// Checks that a model can be used for `purpose` within `memory_bytes`.
///
/// # Errors
///
/// [`DoesNotFit`], with what it takes and the largest preset that fits.
pub fn fits(
    model: &ModelConfig,
    purpose: Purpose,
    memory_bytes: u64,
) -> Result<MemoryNeeds, DoesNotFit> {
    let needs = MemoryNeeds::of(model, purpose);
    if needs.total() <= memory_bytes {
        return Ok(needs);
    }
    Err(DoesNotFit {
        purpose,
        needs,
        available_bytes: memory_bytes,
        largest_preset: largest_preset(purpose, memory_bytes),
    })
}

/// The largest preset that can be used for `purpose` within `memory_bytes`.
pub fn largest_preset(purpose: Purpose, memory_bytes: u64) -> Option<&'static str> {
    PRESETS.into_iter().rev().find(|name| {
        Experiment::preset(name).is_ok_and(|experiment| {
            MemoryNeeds::of(&experiment.model, purpose).total() <= memory_bytes
        })
    })
}

/// The longest context that fits beside the weights, as far as the model's positions reach; none if the
/// weights alone do not fit.
pub fn largest_context(
    model: &ModelConfig,
    weights: Dtype,
    cache: Dtype,
    memory_bytes: u64,
) -> Option<usize> {
    let left = memory_bytes.checked_sub(model.weight_bytes(weights))?;
    let tokens = left / model.cache_bytes_per_token(cache).max(1);
    match tokens.min(model.max_position_embeddings as u64) {
        0 => None,
        tokens => usize::try_from(tokens).ok(),
    }
}

fn alternative(preset: Option<&str>) -> String {
    match preset {
        Some(name) => format!("the largest preset that fits is `{name}`"),
        None => "no preset fits".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn flagship() -> ModelConfig {
        Experiment::preset("5b").unwrap().model
    }

    fn talking(weights: Dtype, context: usize) -> Purpose {
        Purpose::Inference {
            weights,
            cache: Dtype::Bf16,
            context,
        }
    }

    fn learning(tokens: usize) -> Purpose {
        Purpose::Training {
            dtype: Dtype::F32,
            tokens,
        }
    }

    #[test]
    fn the_flagship_talks_over_128k_tokens_in_13_gib_but_not_in_12() {
        let purpose = talking(Dtype::Bf16, 131_072);
        let needs = fits(&flagship(), purpose, 13 * GIB).unwrap();
        assert_eq!(Bytes(needs.cache_bytes).to_string(), "2.81 GiB");
        let error = fits(&flagship(), purpose, 12 * GIB).unwrap_err();
        assert_eq!(
            error.to_string(),
            "inference in bf16 over 131072 tokens takes 12.53 GiB of memory (weights 9.71 GiB, cache 2.81 GiB), \
             but there are 12.00 GiB; the largest preset that fits is `3b`"
        );
    }

    #[test]
    fn training_takes_gradients_moments_and_activations_too() {
        let model = flagship();
        let needs = MemoryNeeds::of(&model, learning(1024));
        assert_eq!(needs.gradients_bytes, needs.weights_bytes);
        assert_eq!(needs.optimizer_bytes, 2 * needs.weights_bytes);
        assert!(needs.activations_bytes > 0 && needs.cache_bytes == 0);
        let double = MemoryNeeds::of(&model, learning(2048));
        assert_eq!(double.activations_bytes, 2 * needs.activations_bytes);
    }

    #[test]
    fn where_not_even_the_smallest_preset_fits_the_refusal_says_so() {
        let error = fits(&flagship(), learning(2048), 1 << 20).unwrap_err();
        assert_eq!(error.largest_preset, None);
        assert!(error.to_string().ends_with("; no preset fits"));
    }

    #[test]
    fn exactly_enough_memory_is_enough() {
        let purpose = talking(Dtype::Q8, 100);
        let needs = MemoryNeeds::of(&flagship(), purpose).total();
        assert!(fits(&flagship(), purpose, needs).is_ok());
        assert!(fits(&flagship(), purpose, needs - 1).is_err());
    }

    #[test]
    fn the_context_grows_into_what_the_weights_leave_and_ends_with_the_positions() {
        let model = flagship();
        let weights = model.weight_bytes(Dtype::Bf16);
        let context = |memory| largest_context(&model, Dtype::Bf16, Dtype::Bf16, memory);
        assert_eq!(context(weights - 1), None);
        assert_eq!(context(weights + 23_040 * 7 + 1), Some(7));
        assert_eq!(context(weights * 9), Some(131_072));
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_suits_them() {
        let told = [0, 1023, 1024, 3 << 29, u64::MAX].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(
            told,
            ["0 B", "1023 B", "1.00 KiB", "1.50 GiB", "16384.00 PiB"]
        );
    }
}
