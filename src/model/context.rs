//! What every layer of one forward pass shares.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::attention::AttentionMask;

use super::rope::Rotation;

/// What the layers need to know beside the residual stream.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// Rotary positions of the tokens.
    pub rotation: Rotation<B>,
    /// What a position may attend to, for whole sequences.
    pub mask: AttentionMask<B>,
    /// Added to the routing scores for the choice of experts only, `[batch * seq, experts]`.
    pub prior: Option<Tensor<B, 2>>,
}
