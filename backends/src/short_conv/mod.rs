//! Causal depthwise convolution over a few tokens, with SiLU, as used before linear attention.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::attention::AttentionMask;

/// Hand-written forward and backward pass of a backend.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::type_complexity,
    reason = "each type is named once, where it is documented"
)]
pub struct ByHand<B: Backend> {
    /// [`Ops::short_conv`](crate::Ops::short_conv).
    pub forward: fn(Tensor<B, 3>, Tensor<B, 2>, &AttentionMask<B>) -> Tensor<B, 3>,
    /// Gradients of the padded tokens and of the weight from that of the output.
    pub backward: fn(
        Tensor<B, 3>,
        Tensor<B, 2>,
        &AttentionMask<B>,
        Tensor<B, 3>,
    ) -> (Tensor<B, 3>, Tensor<B, 2>),
}
