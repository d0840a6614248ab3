//! Carving: the neurons of a dense feed-forward become shared and routed experts, without training.
//!
//! After CMoE (<https://arxiv.org/abs/2502.04416>), with markers from true contributions, balanced clusters of exact
//! sizes, and a router by ridge regression. The parameters stay the same but for the routers; a token visits a part of
//! them. With all experts on, the new model computes what the dense one does.

mod cloze;
mod cluster;
mod dense_layer;
mod equal_gates;
mod layer;
mod linear_router;
mod losses;
mod markers;
mod measure;
mod partition;
mod ridge;
mod slices;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use cloze::{Cloze, HeldOutText};
pub use equal_gates::{EqualGates, UnequalGates};
pub use layer::{CarvedLayer, Division, RouterRule};
pub use linear_router::LinearRouter;
pub use losses::TextLoss;
pub use markers::Markers;
pub use measure::{Chooser, Quality};
pub use partition::{Partition, Sizes};
pub use ridge::RIDGE;
pub use slices::Slices;
pub use stream::{Analysis, CarveError, Carved, LayerRecord, Texts, carve};

use super::sparse::{SparseError, with_experts};
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::{GateRule, RouterConfig, ScoringFunc};

/// Settings of a carving.
#[derive(Debug, Clone, PartialEq)]
pub struct Carving {
    /// Experts per layer, shared ones included.
    pub experts: usize,
    /// Shared experts.
    pub shared: usize,
    /// Routed experts that a token visits.
    pub top_k: usize,
    /// Layers that stay dense.
    pub dense: BTreeSet<usize>,
    /// How the routers are found.
    pub router: RouterRule,
    /// How neurons are divided among the routed experts.
    pub division: Division,
    /// Seed of divisions by lot.
    pub seed: u64,
    /// Whether other routers and a random partition are measured, too.
    pub analyse: bool,
}

impl Carving {
    /// Number of experts and of neurons of a model's feed-forward.
    pub fn sizes(&self, config: &ModelConfig) -> Sizes {
        Sizes {
            width: config.intermediate_size,
            experts: self.experts,
            shared: self.shared,
        }
    }

    /// Configuration of the new model.
    ///
    /// # Errors
    ///
    /// [`SparseError`].
    pub fn config(&self, dense: &ModelConfig) -> Result<ModelConfig, SparseError> {
        let width = dense.intermediate_size;
        SparseError::in_range("--experts", self.experts, 2, width)?;
        SparseError::in_range("--shared", self.shared, 0, self.experts - 1)?;
        SparseError::in_range("--top-k", self.top_k, 1, self.experts - self.shared)?;
        if !width.is_multiple_of(self.experts) {
            let divides = |experts: &usize| width.is_multiple_of(*experts);
            let below = (2..self.experts).rev().find(divides);
            let above = (self.experts..=width).find(divides);
            return Err(SparseError::NotDivided {
                experts: self.experts,
                width,
                fitting: below.into_iter().chain(above).collect(),
            });
        }
        let moe = MoeConfig {
            n_routed_experts: self.experts - self.shared,
            num_experts_per_tok: self.top_k,
            moe_intermediate_size: width / self.experts,
            n_shared_experts: self.shared,
            shared_expert_intermediate_size: None,
            shared_expert_gate: false,
            router: RouterConfig {
                scoring_func: ScoringFunc::Sigmoid,
                norm_topk_prob: false,
                intercept: true,
                gate: GateRule::UnitScale,
                ..RouterConfig::default()
            },
        };
        with_experts(dense, &self.dense, moe)
    }
}
