//! Sparse upcycling: every expert begins as a copy of the dense feed-forward.
//!
//! Komatsuzaki et al. (<https://arxiv.org/abs/2212.05055>). The gates of a token sum to one, so the new model computes
//! what the dense one does until training makes the experts differ. Drop-Upcycling
//! (<https://arxiv.org/abs/2502.19261>) draws a share of every expert's intermediate dimensions anew, so that the
//! experts differ from the start.

mod copies;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use copies::Copies;

use super::sparse::{SparseError, SparseSource, with_experts};
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::balance::Rule;
use crate::model::routing::{RouterConfig, ScoringFunc};
use crate::model::weights::WeightSource;
use crate::model::{MAX_SIZE, ModelConfig};

/// Settings of an upcycling.
#[derive(Debug, Clone, PartialEq)]
pub struct Upcycling {
    /// Number of experts per layer.
    pub experts: usize,
    /// Number of experts that a token chooses.
    pub top_k: usize,
    /// Layers that stay dense.
    pub dense: BTreeSet<usize>,
    /// Share of an expert's intermediate dimensions that are drawn anew; 0: the experts are copies.
    pub drop: f64,
    /// Seed of the routers and of the dimensions that are drawn anew.
    pub seed: u64,
}

impl Upcycling {
    /// Configuration of the new model: softmax-routed experts of the dense width, balanced by an auxiliary loss, as in
    /// Mixtral.
    ///
    /// # Errors
    ///
    /// [`SparseError`].
    pub fn config(&self, dense: &ModelConfig) -> Result<ModelConfig, SparseError> {
        SparseError::in_range("--experts", self.experts, 1, MAX_SIZE)?;
        SparseError::in_range("--top-k", self.top_k, 1, self.experts)?;
        let moe = MoeConfig {
            n_routed_experts: self.experts,
            num_experts_per_tok: self.top_k,
            moe_intermediate_size: dense.intermediate_size,
            n_shared_experts: 0,
            shared_expert_intermediate_size: None,
            shared_expert_gate: false,
            router: RouterConfig {
                scoring_func: ScoringFunc::Softmax,
                norm_topk_prob: true,
                // a bias of the choice, which the other rules train, has no place in Mixtral's files
                balance: Rule::Auxiliary(Default::default()),
                ..RouterConfig::default()
            },
        };
        with_experts(dense, &self.dense, moe)
    }

    /// The weights of the new model, made from those of the dense one while they are read.
    ///
    /// # Errors
    ///
    /// [`SparseError`].
    pub fn source<'a>(
        &self,
        dense: &'a dyn WeightSource,
        config: &ModelConfig,
    ) -> Result<SparseSource<'a, Copies<'a>>, SparseError> {
        let config = self.config(config)?;
        let layers = (0..config.num_hidden_layers).filter(|layer| !self.dense.contains(layer));
        Ok(SparseSource::new(
            dense,
            layers,
            Copies::new(dense, &config, self),
        ))
    }
}
