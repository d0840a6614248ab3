//! Whether a model fits a device's memory, answered before anything is allocated.

use super::memory::{Bytes, MemoryNeeds, Purpose};
use super::{Experiment, PRESETS};
use crate::model::ModelConfig;
use crate::model::dtype::Dtype;

/// The model does not fit the memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} takes {} of memory ({}), but there are {}; {}",
    purpose.name(),
    Bytes(needs.total()),
    needs.listed(),
    Bytes(*available_bytes),
    self.alternatives()
)]
pub struct DoesNotFit {
    /// The use that was asked about.
    pub purpose: Purpose,
    /// Memory that it needs.
    pub needs: MemoryNeeds,
    /// Memory that is available, in bytes.
    pub available_bytes: u64,
    /// Name of the largest preset that fits.
    pub largest_preset: Option<&'static str>,
}

impl DoesNotFit {
    fn alternatives(&self) -> String {
        let preset = match self.largest_preset {
            Some(name) => format!("the largest preset that fits is `{name}`"),
            None => "no preset fits".into(),
        };
        let beside_activations = self.needs.total() - self.needs.activations_bytes;
        match self.purpose {
            Purpose::Inference { context, .. }
                if context > 1 && self.needs.weights_bytes < self.available_bytes =>
            {
                format!("{preset}, a shorter context may fit")
            }
            Purpose::Training { .. } if beside_activations < self.available_bytes => {
                format!("{preset}, a smaller `batch_size` or `seq_len` may fit")
            }
            _ => preset,
        }
    }
}

/// Checks that a model can be used for `purpose` within `memory_bytes`.
///
/// # Errors
///
/// [`DoesNotFit`], with the memory needed and the largest preset that fits.
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

/// Longest context, in tokens, whose cache fits beside the weights, at most the model's `max_position_embeddings`;
/// `None` if not even one token fits.
pub fn largest_context(
    model: &ModelConfig,
    weights: Dtype,
    cache: Dtype,
    memory_bytes: u64,
) -> Option<usize> {
    let held = model.weight_bytes(weights);
    let left = memory_bytes.checked_sub(held.saturating_add(model.state_bytes(weights)))?;
    let fits = |tokens: usize| model.cache_bytes(tokens, cache) <= left;
    // `fitting` tokens fit, `too_many` do not
    let (mut fitting, mut too_many) = (0, model.max_position_embeddings + 1);
    while too_many - fitting > 1 {
        let middle = fitting + (too_many - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            too_many = middle;
        }
    }
    (fitting > 0).then_some(fitting)
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
            trained: None,
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
             but there are 12.00 GiB; the largest preset that fits is `3b`, a shorter context may fit"
        );
    }

    #[test]
    fn where_not_even_the_smallest_preset_fits_the_refusal_says_so() {
        let error = fits(&flagship(), learning(2048), 1 << 20).unwrap_err();
        assert_eq!(error.largest_preset, None);
        assert!(error.to_string().ends_with("; no preset fits"));
    }

    #[test]
    fn where_only_the_micro_batch_is_too_large_the_refusal_says_so() {
        let state = 4 * flagship().weight_bytes(Dtype::F32);
        let error = fits(&flagship(), learning(2048), state + 1).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with(", a smaller `batch_size` or `seq_len` may fit")
        );
        let error = fits(&flagship(), learning(2048), state).unwrap_err();
        assert!(error.to_string().ends_with("`3b`"), "{error}");
    }

    #[test]
    fn states_of_linear_attention_must_fit_before_the_first_token() {
        let model = Experiment::preset("genesis-152m").unwrap().model;
        let state = model.state_bytes(Dtype::F32);
        let token = model.cache_bytes_per_token(Dtype::Q8);
        assert!(state > 1000 * token);
        let needs = MemoryNeeds::of(
            &model,
            Purpose::Inference {
                weights: Dtype::F32,
                cache: Dtype::Q8,
                context: 10,
            },
        );
        assert_eq!(needs.cache_bytes, 10 * token + state);
        let begin = model.weight_bytes(Dtype::F32) + state;
        let context = |memory| largest_context(&model, Dtype::F32, Dtype::Q8, memory);
        assert_eq!(context(begin + token - 1), None);
        assert_eq!(context(begin + 10 * token), Some(10));
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
}
