//! Configuration of codons.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::balance::Rule;

/// How earlier codons of a document influence a token's choice of experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodonConfig {
    /// Number of tokens per codon.
    #[serde(default = "length")]
    pub length: usize,
    /// Factor on the weight of older codons per codon read, from 0 (only the last one counts) to below 1.
    #[serde(default = "memory")]
    pub memory: f64,
    /// How the prediction is used.
    pub mode: CodonMode,
}

/// How the prediction from earlier codons changes the choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodonMode {
    /// The prediction is added to the scores.
    Soft {
        /// Factor on the prediction, a mean affinity.
        cohesion: f64,
    },
    /// Only the experts with the largest prediction are reachable; in the first codon of a document all are.
    Hard {
        /// Number of reachable experts.
        pool: usize,
    },
}

fn length() -> usize {
    32
}

fn memory() -> f64 {
    0.9
}

impl CodonConfig {
    /// Codons with default length and memory.
    pub fn new(mode: CodonMode) -> Self {
        Self {
            length: length(),
            memory: memory(),
            mode,
        }
    }

    pub(crate) fn validate(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        ModelConfigError::in_range("length", self.length, 1, MAX_SIZE)?;
        if !(0.0..1.0).contains(&self.memory) {
            return Err(ModelConfigError::NotAFraction {
                field: "memory".into(),
                value: self.memory,
            });
        }
        match self.mode {
            CodonMode::Soft { cohesion } => {
                ModelConfigError::positive("mode.soft.cohesion", cohesion)
            }
            CodonMode::Hard { pool } => self.validate_pool(pool, moe),
        }
    }

    fn validate_pool(&self, pool: usize, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        let k = moe.num_experts_per_tok;
        ModelConfigError::in_range("mode.hard.pool", pool, k, moe.n_routed_experts)?;
        if moe.router.n_group > 1 {
            return Err(ModelConfigError::Needs {
                field: "mode.hard".into(),
                needed: "`n_group` 1: a pool does not keep to groups",
            });
        }
        if matches!(moe.router.balance, Rule::Quantile(_)) && pool == k {
            return Err(ModelConfigError::Needs {
                field: "mode.hard.pool".into(),
                needed: "more than `num_experts_per_tok` experts with `balance` quantile, which asks by how much the next best was missed",
            });
        }
        Ok(())
    }
}
