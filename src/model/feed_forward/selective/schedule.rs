//! Schedule of activation sparsity during training.

use serde::{Deserialize, Serialize};

use crate::model::error::ModelConfigError;

/// Schedule of the kept fraction of activations, from 1 to `k_ratio`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparsitySchedule {
    /// Number of initial steps with all activations.
    #[serde(default = "SparsitySchedule::default_warmup_steps")]
    pub warmup_steps: u64,
    /// Number of steps over which the fraction falls.
    #[serde(default = "SparsitySchedule::default_sparsify_steps")]
    pub sparsify_steps: u64,
    /// Shape of the fall.
    #[serde(default)]
    pub curve: SparsityCurve,
}

/// Completed share of the fall, as a function of progress `p` from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SparsityCurve {
    /// `1 - (1 - p)^3`.
    #[default]
    Cubic,
    /// `p`.
    Linear,
    /// `(1 - cos(pi p)) / 2`.
    Cosine,
}

impl SparsitySchedule {
    fn default_warmup_steps() -> u64 {
        1000
    }

    fn default_sparsify_steps() -> u64 {
        10_000
    }

    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        let steps = self.sparsify_steps as usize;
        ModelConfigError::in_range("sparsify_steps", steps, 1, usize::MAX)
    }

    /// Fraction of the activations kept at `step`, with final value `k_ratio`.
    pub fn k_ratio_at(&self, step: u64, k_ratio: f64) -> f64 {
        let Some(since) = step.checked_sub(self.warmup_steps) else {
            return 1.0;
        };
        if since >= self.sparsify_steps {
            return k_ratio;
        }
        let progress = since as f64 / self.sparsify_steps as f64;
        let done = match self.curve {
            SparsityCurve::Cubic => 1.0 - (1.0 - progress).powi(3),
            SparsityCurve::Linear => progress,
            SparsityCurve::Cosine => (1.0 - (std::f64::consts::PI * progress).cos()) / 2.0,
        };
        1.0 - (1.0 - k_ratio) * done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_falls_from_all_to_the_last_along_the_curve() {
        let at = |curve, step| {
            let schedule = SparsitySchedule {
                warmup_steps: 10,
                sparsify_steps: 100,
                curve,
            };
            schedule.k_ratio_at(step, 0.2)
        };
        for curve in [
            SparsityCurve::Cubic,
            SparsityCurve::Linear,
            SparsityCurve::Cosine,
        ] {
            assert_eq!((at(curve, 0), at(curve, 9)), (1.0, 1.0));
            assert_eq!((at(curve, 110), at(curve, 1000)), (0.2, 0.2));
        }
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got}");
        close(at(SparsityCurve::Cubic, 60), 1.0 - 0.8 * 0.875);
        close(at(SparsityCurve::Linear, 35), 0.8);
        close(at(SparsityCurve::Cosine, 60), 0.6);
    }
}
