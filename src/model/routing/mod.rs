//! Routing of tokens to experts, and load balancing.

pub mod balance;
pub mod codons;
mod config;
pub mod cosine;
pub mod domain;
mod gates;
pub mod growth;
mod router;
pub mod stats;
#[cfg(test)]
mod tests;
mod together;

pub use config::{GroupScore, RouterConfig, ScoringFunc};
pub use gates::GateRule;
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
/// A router chooses among *slots*: the routed experts, followed by null experts, if any. A null expert adds nothing
/// to the output and costs nothing, so a token that chooses one visits fewer experts.
#[derive(Debug, Clone)]
pub struct Routing<B: Backend> {
    /// Gate values of the chosen slots, `[tokens, num_experts_per_tok]`.
    pub weights: Tensor<B, 2>,
    /// Chosen slots, `[tokens, num_experts_per_tok]`; an index at or above [`experts`](Self::experts) is a null
    /// expert.
    pub indices: Tensor<B, 2, Int>,
    /// Router logits, from which the affinities are computed, `[tokens, slots]`.
    pub logits: Tensor<B, 2>,
    /// Affinity of every token to every slot, before bias and prior, `[tokens, slots]`.
    pub affinities: Tensor<B, 2>,
    /// Scores that the top-k choice ranks, `[tokens, slots]`; unreachable slots are far below all others.
    pub scores: Tensor<B, 2>,
    /// Margin of every slot, the bias at which the token would just choose it, `[tokens, slots]`; present if
    /// [quantile balancing](balance::quantile) needs it.
    pub margins: Option<Tensor<B, 2>>,
    /// Number of routed experts.
    pub experts: usize,
    /// Factors of the auxiliary losses that training adds for this router.
    pub loss_factors: LossFactors,
    /// Extra outputs of a router whose number of experts [grows](growth).
    pub growth: Option<Growing<B>>,
    /// Scores that the [codons] accumulate, `[tokens, experts]`; present if the router uses codons.
    pub codon_scores: Option<Tensor<B, 2>>,
}

impl<B: Backend> Routing<B> {
    /// Number of slots: routed experts and null experts.
    pub fn slots(&self) -> usize {
        let [_, slots] = self.affinities.dims();
        slots
    }
}

/// Inputs of a router beside the tokens.
#[derive(Debug, Clone)]
pub struct Surroundings<B: Backend> {
    /// Added to the scores of the choice, never to the gates, `[tokens, slots]`.
    pub prior: Option<Tensor<B, 2>>,
    /// Tokens that choose [jointly](Together), if the router supports it; absent: tokens choose independently.
    pub together: Option<Together>,
    /// The [codons] that the tokens belong to; absent: not used.
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

/// A router: a module that chooses experts for tokens. Implement it to use your own router in a model.
pub trait Route<B: Ops>: Module<B> + ModuleDisplay {
    /// Routes every token.
    ///
    /// # Shapes
    ///
    /// - hidden: `[tokens, hidden_size]`
    fn route(&self, hidden: Tensor<B, 2>, around: &Surroundings<B>) -> Routing<B>;

    /// Updates the load balance after an optimizer step. Called once per step, without gradients.
    fn balance(self, _seen: &Observed, _goal: &Goal) -> Self {
        self
    }

    /// State of its experts if their number [grows](growth); `None` if all experts are always in use.
    fn roster(&self) -> Option<Roster> {
        None
    }

    /// Applies a change of the set of experts. Called without gradients.
    fn grow(self, _change: &Change) -> Self {
        self
    }

    /// Trained parameters whose last dimension indexes slots, with their number of slots. When an expert divides,
    /// both experts inherit its optimizer moments of these parameters.
    fn slot_parameters(&self) -> Vec<(ParamId, usize)> {
        Vec::new()
    }
}
