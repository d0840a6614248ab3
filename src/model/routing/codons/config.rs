//! Configuration of codons.

use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::balance::Rule;

/// How the codons of a document before a token's own bear on the token's choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodonConfig {
    /// Tokens of a codon.
    #[serde(default = "length")]
    pub length: usize,
    /// What is left of a codon's weight when one more has been read, from 0 (only the last one counts) to below 1.
    #[serde(default = "memory")]
    pub memory: f64,
    /// What they do.
    pub mode: CodonMode,
}

/// What the codons before do to a choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodonMode {
    /// Experts that they leaned to are chosen more easily.
    Soft {
        /// Added to the score of an expert for a mean affinity of 1.
        cohesion: f64,
    },
    /// Only the experts that they leaned to most are open; in the first codon of a document all are.
    Hard {
        /// Number of these experts.
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
    /// Codons of the usual length and memory.
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
