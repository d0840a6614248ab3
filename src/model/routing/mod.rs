//! Which experts a token visits, and how their load is kept even.

pub mod balance;
pub mod codons;
mod config;
pub mod cosine;
pub mod domain;
pub mod growth;
mod router;
pub mod stats;
#[cfg(test)]
mod tests;
mod together;

pub use config::{GroupScore, RouterConfig, ScoringFunc};
pub use router::Router;
pub use together::Together;

use burn::module::{Module, ModuleDisplay, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::Ops;

use balance::{Goal, LossFactors};
use codons::Codons;
use growth::{Change, Growing, Roster};
use stats::Observed;

/// The experts chosen for a batch of tokens.
///
/// A router chooses among *slots*: the routed experts first, then its null experts, if it has any. A null expert adds
/// nothing to the output and costs nothing, so that a token that chooses one visits fewer experts.
#[derive(Debug, Clone)]
pub struct Routing<B: Backend> {
    /// Gate values, `[tokens, num_experts_per_tok]`.
    pub weights: Tensor<B, 2>,
    /// Chosen slots, `[tokens, num_experts_per_tok]`; those from [`experts`](Self::experts) on are null experts.
    pub indices: Tensor<B, 2, Int>,
    /// What the affinities are made of, `[tokens, slots]`.
    pub logits: Tensor<B, 2>,
    /// Affinity of every token to every slot, before bias and prior, `[tokens, slots]`.
    pub affinities: Tensor<B, 2>,
    /// What the choice was made by, `[tokens, slots]`; slots out of reach are far below all others.
    pub scores: Tensor<B, 2>,
    /// The bias with which a token would just choose each slot, `[tokens, slots]`, where
    /// [quantile balancing](balance::quantile) needs it.
    pub margins: Option<Tensor<B, 2>>,
    /// Number of routed experts.
    pub experts: usize,
    /// Losses that training is to add for this router.
    pub loss_factors: LossFactors,
    /// What a router whose experts [grow](growth) in number says beside.
    pub growth: Option<Growing<B>>,
    /// Where [codons] count: what they count by, `[tokens, experts]`.
    pub codon_scores: Option<Tensor<B, 2>>,
}

impl<B: Backend> Routing<B> {
    /// Number of slots: routed experts and null experts.
    pub fn slots(&self) -> usize {
        let [_, slots] = self.affinities.dims();
        slots
    }
}

/// What a choice of experts looks at beside the tokens themselves.
#[derive(Debug, Clone)]
pub struct Surroundings<B: Backend> {
    /// Added to what the choice is made by, never to the gates, `[tokens, slots]`.
    pub prior: Option<Tensor<B, 2>>,
    /// Which tokens choose [together](Together), in a router that knows how; absent: none.
    pub together: Option<Together>,
    /// The [codons] that the tokens belong to; absent: none count.
    pub codons: Option<Codons<B>>,
}

impl<B: Backend> Default for Surroundings<B> {
    fn default() -> Self {
        Self {
            prior: None,
            together: None,
            codons: None,
        }
    }
}

/// A module that chooses experts. Implement it to put a router of your own into a model.
pub trait Route<B: Ops>: Module<B> + ModuleDisplay {
    /// Routes every token.
    ///
    /// # Shapes
    ///
    /// - hidden: `[tokens, hidden_size]`
    fn route(&self, hidden: Tensor<B, 2>, around: &Surroundings<B>) -> Routing<B>;

    /// The same router after an optimizer step, with its loads evened out by a rule of its own. Called once per step,
    /// outside of the gradients.
    fn balance(self, _seen: &Observed, _goal: &Goal) -> Self {
        self
    }

    /// What its experts are, where they [grow](growth) in number; none: all are in use, and stay.
    fn roster(&self) -> Option<Roster> {
        None
    }

    /// The same router after its experts changed. Called outside of the gradients.
    fn grow(self, _change: &Change) -> Self {
        self
    }

    /// Trained parameters whose last dimension counts slots, and how many: an expert that divides leaves its own to both.
    fn slot_parameters(&self) -> Vec<(ParamId, usize)> {
        Vec::new()
    }
}
