//! Test-time training after the last layer, blended in by how confident the model is of it.
//!
//! This is Genesis-152M's form of it, not that of the literature: no fast weight matrix is kept, and the
//! blend is one number for a whole batch. Logits depend on later tokens and on the other rows through that
//! number; so it is no part of decoding, and whole sequences get it only where it is asked for.

mod config;
mod layer;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu};
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::init::Initializers;
use super::linear::{Bias, Linear};
pub use config::{TttConfig, TttMode, TttViews};
pub use layer::{Inner, LayerNorm, TttLayer};

/// What a model thinks of its own states.
#[derive(Module, Debug)]
pub struct Metacognition<B: Backend> {
    /// Predicts the adapted states.
    pub self_model: Linear<B>,
    /// Adapts the states.
    pub ttt: TttLayer<B>,
    /// First layer of the confidence, `[2 * hidden_size, hidden_size / 2]`.
    pub confidence_in: Linear<B>,
    /// Second layer, `[hidden_size / 2, 1]`.
    pub confidence_out: Linear<B>,
    /// `[2 * hidden_size, hidden_size]`; its output is used by nothing.
    pub reflection: Linear<B>,
    #[module(skip)]
    config: TttConfig,
}

/// What metacognition finds about a batch.
#[derive(Debug, Clone)]
pub struct Finding<B: Backend> {
    /// `[batch, seq, hidden_size]`.
    pub adapted: Tensor<B, 3>,
    /// Prediction and adapted states, `[batch, seq, 2 * hidden_size]`.
    pub both: Tensor<B, 3>,
    /// How sure the model is of the adapted states, 0 to 1, `[batch, seq, 1]`.
    pub confidence: Tensor<B, 3>,
    /// Mean squared error of the prediction, `[batch, seq, 1]`.
    pub surprise: Tensor<B, 3>,
    /// Mean squared inner error, `[1]`.
    pub loss: Tensor<B, 1>,
}

impl<B: Backend> Metacognition<B> {
    pub(super) fn init(config: &TttConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let hidden = init.config().hidden_size;
        let half = hidden / 2;
        Self {
            self_model: init.linear(hidden, hidden, device),
            ttt: TttLayer::init(config, init, device),
            confidence_in: init.linear(2 * hidden, half, device).with(Bias::Zero),
            confidence_out: init.linear(half, 1, device).with(Bias::Zero),
            reflection: init.linear(2 * hidden, hidden, device),
            config: config.clone(),
        }
    }
}

impl<B: Ops> Metacognition<B> {
    /// Looks at a batch, `[batch, seq, hidden_size]`.
    pub fn find(&self, states: Tensor<B, 3>) -> Finding<B> {
        let Inner {
            output: adapted,
            loss,
        } = self.ttt.forward(states.clone());
        let expected = self.self_model.forward(states);
        let surprise = (expected.clone() - adapted.clone()).square().mean_dim(2);
        let both = Tensor::cat(vec![expected, adapted.clone()], 2);
        let inner = silu(self.confidence_in.forward(both.clone()));
        Finding {
            confidence: sigmoid(self.confidence_out.forward(inner)),
            adapted,
            both,
            surprise,
            loss,
        }
    }

    /// `a adapted + (1 - a) x` with `a` the strength times the mean confidence, which is no part of the
    /// graph.
    pub fn blend(&self, states: Tensor<B, 3>) -> Tensor<B, 3> {
        let found = self.find(states.clone());
        let confidence = found.confidence.mean().detach();
        let share = confidence.mul_scalar(self.config.strength).unsqueeze::<3>();
        let rest = share.clone().neg().add_scalar(1.0);
        found.adapted * share + states * rest
    }
}
