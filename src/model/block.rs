//! One decoder layer.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::cache::Extension;
use super::context::Context;
use super::feed_forward::FeedForward;
use super::mixer::{Mixer, TokenMixer};
use super::norm::RmsNorm;
use super::routing::{Route, Router, Routing};

/// Pre-norm decoder layer: `h = x + mixer(norm(x))`, output `h + feed_forward(norm(h))`.
#[derive(Module, Debug)]
pub struct Block<B: Backend, M: Module<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// Normalizes the input of the mixer.
    pub input_layernorm: RmsNorm<B>,
    /// The sequence mixer.
    pub mixer: M,
    /// Normalizes the input of the feed-forward.
    pub post_attention_layernorm: RmsNorm<B>,
    /// The feed-forward layer.
    pub feed_forward: FeedForward<B, R>,
}

/// Output of one decoder layer.
#[derive(Debug, Clone)]
pub struct BlockOutput<B: Backend> {
    /// The residual stream, `[batch, seq, hidden_size]`.
    pub hidden: Tensor<B, 3>,
    /// Routing of the tokens, if the layer has experts.
    pub routing: Option<Routing<B>>,
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> Block<B, M, R> {
    /// Runs the layer on whole sequences.
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, seq, hidden_size]`
    pub fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> BlockOutput<B> {
        self.transform(self.mix(hidden, context), context)
    }

    /// Runs the layer on the next positions of every sequence.
    ///
    /// # Shapes
    ///
    /// - hidden: `[1, tokens, hidden_size]`, the rows of all sequences, concatenated
    pub fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> BlockOutput<B> {
        self.transform(self.mix_next(hidden, context, sequences), context)
    }

    /// Residual stream after the mixer, for whole sequences; its norm is the input of the feed-forward.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    pub fn mix(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let normalized = self.input_layernorm.forward(hidden.clone());
        hidden + self.mixer.forward(normalized, context)
    }

    /// Residual stream after the mixer, for the next positions of every sequence.
    pub(super) fn mix_next(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> Tensor<B, 3> {
        let normalized = self.input_layernorm.forward(hidden.clone());
        hidden + self.mixer.extend(normalized, context, sequences)
    }

    /// Applies the feed-forward half of the layer to the output of [`mix`](Self::mix).
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, seq, hidden_size]`
    pub fn transform(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> BlockOutput<B> {
        let (transformed, routing) = self.feed_forward.forward(
            self.post_attention_layernorm.forward(hidden.clone()),
            context,
        );
        BlockOutput {
            hidden: hidden + transformed,
            routing,
        }
    }
}
