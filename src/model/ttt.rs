//! Test-time training after the last layer, blended in according to the model's confidence.
//!
//! This is Genesis-152M's form, not that of the literature: no fast weight matrix is kept, and the blend is one
//! number for a whole batch. Through that number logits depend on later tokens and on other rows, so decoding never
//! uses it, and whole sequences only on request.

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

/// Test-time training with a confidence estimate and a model of its own states.
#[derive(Module, Debug)]
pub struct Metacognition<B: Backend> {
    /// Predicts the adapted states from the states.
    pub self_model: Linear<B>,
    /// Test-time training layer, which adapts the states.
    pub ttt: TttLayer<B>,
    /// First layer of the confidence estimate, `[2 * hidden_size, hidden_size / 2]`.
    pub confidence_in: Linear<B>,
    /// Second layer of the confidence estimate, `[hidden_size / 2, 1]`.
    pub confidence_out: Linear<B>,
    /// `[2 * hidden_size, hidden_size]`; its output is unused.
    pub reflection: Linear<B>,
    #[module(skip)]
    config: TttConfig,
}

/// Output of [`Metacognition::find`].
#[derive(Debug, Clone)]
pub struct Finding<B: Backend> {
    /// Adapted states, `[batch, seq, hidden_size]`.
    pub adapted: Tensor<B, 3>,
    /// Predicted states, then adapted states, `[batch, seq, 2 * hidden_size]`.
    pub both: Tensor<B, 3>,
    /// Confidence in the adapted states, 0 to 1, `[batch, seq, 1]`.
    pub confidence: Tensor<B, 3>,
    /// Mean squared difference of predicted and adapted states, `[batch, seq, 1]`.
    pub surprise: Tensor<B, 3>,
    /// Inner loss of the test-time training layer, `[1]`.
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
    /// Adapts the states of a batch and estimates the confidence in them.
    ///
    /// # Shapes
    ///
    /// - states: `[batch, seq, hidden_size]`
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

    /// `a adapted + (1 - a) x`, where `x` are the states and `a` is `strength` times the batch's mean confidence. No
    /// gradient goes through `a`.
    pub fn blend(&self, states: Tensor<B, 3>) -> Tensor<B, 3> {
        let found = self.find(states.clone());
        let confidence = found.confidence.mean().detach();
        let share = confidence.mul_scalar(self.config.strength).unsqueeze::<3>();
        let rest = share.clone().neg().add_scalar(1.0);
        found.adapted * share + states * rest
    }
}
