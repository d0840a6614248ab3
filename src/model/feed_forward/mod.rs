//! Feed-forward layers, which transform each position separately.

pub mod experts;
pub mod moe;
pub mod selective;
pub mod swiglu;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::config::FeedForwardPlan;
use super::context::Context;
use super::init::Initializers;
use super::linear::Bias;
use super::routing::{Route, Router, Routing};
use moe::Moe;
use selective::Selective;
use swiglu::SwiGlu;

/// The feed-forward of a layer.
#[derive(Module, Debug)]
pub enum FeedForward<B: Backend, R: Module<B> = Router<B>> {
    /// A dense SwiGLU.
    Dense(SwiGlu<B>),
    /// A dense SwiGLU that keeps only the largest activations.
    Selective(Selective<B>),
    /// Routed and shared experts.
    Moe(Moe<B, R>),
}

impl<B: Backend, R: Module<B>> FeedForward<B, R> {
    pub(super) fn init(
        plan: FeedForwardPlan<'_>,
        init: &Initializers<'_>,
        router: impl FnOnce(&Initializers<'_>) -> R,
        device: &B::Device,
    ) -> Self {
        match plan {
            FeedForwardPlan::Dense(width) => {
                if let Some(selective) = &init.config().selective {
                    return Self::Selective(Selective::init(width, selective, init, device));
                }
                let bias = Bias::when(init.config().mlp_bias);
                Self::Dense(SwiGlu::init(width, bias, init, device))
            }
            FeedForwardPlan::Moe(config) => {
                Self::Moe(Moe::init(config, init, router(init), device))
            }
        }
    }
}

impl<B: Ops, R: Route<B>> FeedForward<B, R> {
    /// Transforms every position; also returns the routing, if the layer has experts.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    pub fn forward(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
    ) -> (Tensor<B, 3>, Option<Routing<B>>) {
        match self {
            Self::Dense(swiglu) => (swiglu.forward(hidden), None),
            Self::Selective(selective) => {
                (selective.forward(hidden, context.phase, context.step), None)
            }
            Self::Moe(moe) => {
                let (output, routing) = moe.forward(hidden, context);
                (output, Some(routing))
            }
        }
    }
}
