//! Estimates of the memory that a model needs, in total or per device.

use std::fmt;

use serde::Serialize;

use crate::model::ModelConfig;
use crate::model::dtype::Dtype;

/// The use that a model is held in memory for.
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
        /// Format of the weights and activations within a step; gradients are f32.
        dtype: Dtype,
        /// Tokens per micro-batch.
        tokens: usize,
        /// Number of trained parameters beside frozen weights, as the factors of LoRA; `None`: all are trained.
        trained: Option<u64>,
    },
}

/// How a model is divided among devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// Every device holds all weights and takes its share of the batch.
    DataParallel,
    /// Routed experts are divided among this many devices; everything else is replicated on each.
    ExpertParallel(usize),
}

/// Memory by content, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryNeeds {
    /// Weights, MTP modules included.
    pub weights_bytes: u64,
    /// The cache of the context: keys and values, and states whose size does not depend on its length.
    pub cache_bytes: u64,
    /// Gradients.
    pub gradients_bytes: u64,
    /// AdamW's moments and the master weights.
    pub optimizer_bytes: u64,
    /// Activations that the backward pass keeps of a micro-batch; an estimate.
    pub activations_bytes: u64,
}

/// A number of bytes, displayed in a fitting unit, as in `9.71 GiB`.
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
    pub(super) fn name(&self) -> String {
        match self {
            Self::Inference {
                weights, context, ..
            } => format!("inference in {} over {context} tokens", weights.name()),
            Self::Training { dtype, tokens, .. } => {
                format!("training in {} on {tokens} tokens at a time", dtype.name())
            }
        }
    }
}

impl Sharding {
    /// Parameters that a device does not hold because others do.
    fn held_elsewhere(self, model: &ModelConfig) -> u64 {
        match (self, &model.moe) {
            (Self::ExpertParallel(devices), Some(moe)) => {
                let experts = moe.n_routed_experts as u64;
                let held = experts.div_ceil(devices.max(1) as u64);
                model.num_routed_params() / experts * (experts - held)
            }
            _ => 0,
        }
    }
}

impl MemoryNeeds {
    /// Memory for `purpose` on one device. The runtime, workspaces of kernels and activations of the prompt are not
    /// counted.
    pub fn of(model: &ModelConfig, purpose: Purpose) -> Self {
        Self::per_device(model, purpose, Sharding::DataParallel)
    }

    /// Memory for `purpose` on each device. With more devices than experts, several devices hold the same expert.
    pub fn per_device(model: &ModelConfig, purpose: Purpose, sharding: Sharding) -> Self {
        let weights = model.num_trained_params() - sharding.held_elsewhere(model);
        match purpose {
            Purpose::Inference {
                weights: dtype,
                cache,
                context,
            } => Self {
                weights_bytes: model.bytes_of_weights(weights, dtype),
                cache_bytes: model
                    .cache_bytes(context, cache)
                    .saturating_add(model.state_bytes(dtype)),
                ..Default::default()
            },
            Purpose::Training {
                dtype,
                tokens,
                trained,
            } => Self {
                weights_bytes: dtype.bytes(weights + trained.unwrap_or(0)),
                gradients_bytes: Dtype::F32.bytes(trained.unwrap_or(weights)),
                optimizer_bytes: dtype.optimizer_bytes(trained.unwrap_or(weights)),
                activations_bytes: dtype.bytes(
                    model
                        .activation_values_per_token()
                        .saturating_mul(tokens as u64),
                ),
                ..Default::default()
            },
        }
    }

    /// Sum of all parts, in bytes.
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

    pub(super) fn listed(&self) -> String {
        let needed = self.parts().into_iter().filter(|&(_, bytes)| bytes > 0);
        let listed = needed.map(|(name, bytes)| format!("{name} {}", Bytes(bytes)));
        listed.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experiment;

    fn flagship() -> ModelConfig {
        Experiment::preset("5b").unwrap().model
    }

    fn learning(tokens: usize) -> Purpose {
        Purpose::Training {
            dtype: Dtype::F32,
            tokens,
            trained: None,
        }
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
    fn frozen_weights_take_no_gradients_and_no_moments() {
        let model = flagship();
        let all = MemoryNeeds::of(&model, learning(1024));
        let some = Purpose::Training {
            dtype: Dtype::F32,
            tokens: 1024,
            trained: Some(1000),
        };
        let some = MemoryNeeds::of(&model, some);
        assert_eq!(some.weights_bytes, all.weights_bytes + 4000);
        assert_eq!((some.gradients_bytes, some.optimizer_bytes), (4000, 8000));
        assert_eq!(some.activations_bytes, all.activations_bytes);
    }

    #[test]
    fn expert_parallelism_divides_the_routed_experts_and_nothing_else() {
        let (model, purpose) = (flagship(), learning(1));
        let on = |sharding| MemoryNeeds::per_device(&model, purpose, sharding).weights_bytes;
        let whole = on(Sharding::DataParallel);
        assert_eq!(whole, model.weight_bytes(Dtype::F32));
        assert_eq!(on(Sharding::ExpertParallel(1)), whole);
        let routed = 4 * model.num_routed_params();
        assert_eq!(on(Sharding::ExpertParallel(8)), whole - routed / 8 * 7);
        // 64 experts on 7 devices: ten on the fullest; on 100: one
        assert_eq!(on(Sharding::ExpertParallel(7)), whole - routed / 64 * 54);
        assert_eq!(on(Sharding::ExpertParallel(100)), whole - routed / 64 * 63);
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
