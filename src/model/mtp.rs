//! Multi-token prediction (MTP): modules that each predict one token further ahead than the main model.
//!
//! DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), section 2.2.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::block::{Block, BlockOutput};
use super::cache::Extension;

use super::context::Context;
use super::init::Initializers;
use super::linear::Linear;
use super::mixer::{Mixer, TokenMixer};
use super::norm::RmsNorm;
use super::routing::{Route, Router};
use super::sequences::Hidden;

/// MTP module, `norm(block(eh_proj([enorm(emb); hnorm(h)])))`, where `emb` is the embedding of the token ahead and
/// `h` are the states of the previous module; the main model's head follows.
#[derive(Module, Debug)]
pub struct MtpModule<B: Backend, M: Module<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// Normalizes the embedding of the token ahead.
    pub enorm: RmsNorm<B>,
    /// Normalizes the states of the previous module, or of the main model.
    pub hnorm: RmsNorm<B>,
    /// Projects the concatenated embedding and states, `[2 * hidden_size, hidden_size]`.
    pub eh_proj: Linear<B>,
    /// A complete decoder layer.
    pub block: Block<B, M, R>,
    /// Normalizes the states before the shared head.
    pub norm: RmsNorm<B>,
}

impl<B: Backend, M: Module<B>, R: Module<B>> MtpModule<B, M, R> {
    pub(super) fn init(block: Block<B, M, R>, init: &Initializers<'_>, device: &B::Device) -> Self {
        let hidden = init.config().hidden_size;
        Self {
            enorm: init.norm(hidden, device),
            hnorm: init.norm(hidden, device),
            eh_proj: init.linear(2 * hidden, hidden, device),
            block,
            norm: init.norm(hidden, device),
        }
    }
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> MtpModule<B, M, R> {
    /// Applies the module to `states`, given the embeddings `ahead` of the next tokens.
    ///
    /// # Shapes
    ///
    /// - ahead, states: `[batch, seq, hidden_size]`; states are those after the previous norm
    pub fn forward(
        &self,
        ahead: Tensor<B, 3>,
        states: Tensor<B, 3>,
        context: &Context<B>,
    ) -> Hidden<B> {
        let joined = self.join(ahead, states);
        self.read_out(self.block.forward(joined, context))
    }

    /// [`forward`](Self::forward) for the next positions of every sequence.
    ///
    /// # Shapes
    ///
    /// - ahead, states: `[1, tokens, hidden_size]`, the rows of all sequences, concatenated
    pub fn extend(
        &self,
        ahead: Tensor<B, 3>,
        states: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> Hidden<B> {
        let joined = self.join(ahead, states);
        self.read_out(self.block.extend(joined, context, sequences))
    }

    pub(super) fn join(&self, ahead: Tensor<B, 3>, states: Tensor<B, 3>) -> Tensor<B, 3> {
        let both = vec![self.enorm.forward(ahead), self.hnorm.forward(states)];
        self.eh_proj.forward(Tensor::cat(both, 2))
    }

    fn read_out(&self, output: BlockOutput<B>) -> Hidden<B> {
        Hidden {
            states: self.norm.forward(output.hidden),
            routings: output.routing.into_iter().collect(),
        }
    }
}
