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

/// `x + mixer(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Module, Debug)]
pub struct Block<B: Backend, M: Module<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// Normalizes the input of the mixer.
    pub input_layernorm: RmsNorm<B>,
    /// Mixes positions.
    pub mixer: M,
    /// Normalizes the input of the feed-forward.
    pub post_attention_layernorm: RmsNorm<B>,
    /// Transforms each position.
    pub feed_forward: FeedForward<B, R>,
}

/// What a layer leaves behind.
#[derive(Debug, Clone)]
pub struct BlockOutput<B: Backend> {
    /// The residual stream, `[batch, seq, hidden_size]`.
    pub hidden: Tensor<B, 3>,
    /// Which experts the tokens visited, if the layer routes.
    pub routing: Option<Routing<B>>,
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> Block<B, M, R> {
    /// Runs whole sequences.
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, seq, hidden_size]`
    pub fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> BlockOutput<B> {
        self.transform(self.mix(hidden, context), context)
    }

    /// Runs the next positions of every sequence.
    ///
    /// # Shapes
    ///
    /// - hidden: `[1, tokens, hidden_size]`, the rows of the sequences one after the other
    pub fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> BlockOutput<B> {
        self.transform(self.mix_next(hidden, context, sequences), context)
    }

    /// The first half of [`forward`](Self::forward).
    pub(super) fn mix(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let normalized = self.input_layernorm.forward(hidden.clone());
        hidden + self.mixer.forward(normalized, context)
    }

    /// The first half of [`extend`](Self::extend).
    pub(super) fn mix_next(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> Tensor<B, 3> {
        let normalized = self.input_layernorm.forward(hidden.clone());
        hidden + self.mixer.extend(normalized, context, sequences)
    }

    /// The second half of both.
    pub(super) fn transform(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> BlockOutput<B> {
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
