//! Which experts a token visits, and how their load is kept even.

pub mod balance;
pub mod domain;
mod router;
pub mod stats;

pub use router::{Router, RouterConfig, ScoringFunc};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::Ops;

/// The experts chosen for a batch of tokens.
#[derive(Debug, Clone)]
pub struct Routing<B: Backend> {
    /// Gate values, `[tokens, num_experts_per_tok]`.
    pub weights: Tensor<B, 2>,
    /// Expert indices, `[tokens, num_experts_per_tok]`.
    pub indices: Tensor<B, 2, Int>,
    /// Affinity of every token to every expert, before bias and prior, `[tokens, experts]`.
    pub scores: Tensor<B, 2>,
}

/// A module that chooses experts. Implement it to put a router of your own into a model.
pub trait Route<B: Ops>: Module<B> + ModuleDisplay {
    /// Routes every token.
    ///
    /// # Shapes
    ///
    /// - hidden: `[tokens, hidden_size]`
    /// - prior: `[tokens, experts]`, to be added to what the choice is made by, never to the gates
    fn route(&self, hidden: Tensor<B, 2>, prior: Option<Tensor<B, 2>>) -> Routing<B>;

    /// The bias that [`balance`] moves, `[experts]`; none: the router balances in a way of its own.
    fn balance_bias(&self) -> Option<Tensor<B, 1>> {
        None
    }

    /// The same router with another [balance bias](Route::balance_bias).
    fn with_balance_bias(self, _bias: Tensor<B, 1>) -> Self {
        self
    }
}
