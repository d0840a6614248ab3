//! Settings and progress of a recovery.

use serde::{Deserialize, Serialize};

use crate::model::lora::LoraConfig;

/// Share of the steps over which the learning rate rises.
const RISING: f64 = 0.03;

/// Share of the steps over which the learning rate falls to zero.
const FALLING: f64 = 0.5;

/// Settings of a recovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Low-rank updates, and the parameters that are trained whole.
    pub lora: LoraConfig,
    /// Highest learning rate of the low-rank factors.
    pub learning_rate: f64,
    /// Highest learning rate of the parameters that are trained whole.
    pub whole_rate: f64,
    /// Weight of the divergence from the teacher, beside the loss on the text.
    pub divergence: f64,
    /// Weight of the mean relative error of the states after the layers.
    pub layers: f64,
    /// Step of the routers' balancing bias; 0: balancing is off.
    pub bias_speed: f64,
    /// Seed of the factors.
    pub seed: u64,
}

impl Lesson {
    /// CMoE's rank and scale. Its rate, 5.65e-5, hardly moves in a few hundred steps: this is ten times as high.
    pub fn of_steps(steps: u64) -> Self {
        Self {
            steps,
            lora: LoraConfig {
                alpha: 32.0,
                train: vec!["routers".into(), "norms".into()],
                ..LoraConfig::of_rank(8)
            },
            learning_rate: 5e-4,
            whole_rate: 1e-3,
            divergence: 1.0,
            layers: 0.1,
            bias_speed: 1e-3,
            seed: 0,
        }
    }

    /// Learning rate of the factors at `step`, counted from 1: it rises, stays, and falls.
    pub(super) fn rate(&self, step: u64) -> f64 {
        let steps = self.steps as f64;
        let risen = step as f64 / (steps * RISING).max(1.0);
        let left = (self.steps - step + 1) as f64 / (steps * FALLING).max(1.0);
        self.learning_rate * risen.min(left).min(1.0)
    }
}

/// Progress of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer step, from 1.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Loss on the step's text, in nats per token.
    pub loss: f64,
    /// KL divergence of the student from the teacher, in nats per token.
    pub divergence: f64,
    /// Squared error of the states relative to the teacher's, mean over layers and tokens.
    pub layer_error: f64,
}

impl Progress {
    pub(super) fn is_finite(&self) -> bool {
        [self.loss, self.divergence, self.layer_error]
            .into_iter()
            .all(f64::is_finite)
    }
}
