//! The sub-trait of burn's `Backend` that the models compute with.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use crate::adamw::{self, AdamWStep, Moments};
use crate::attention::{self, AttentionMask};
use crate::{cross_entropy, experts, linear, norm, rope, swiglu, top_k};

/// A backend that can run the models of Darkhorse Genesis.
///
/// Every method has a default in burn's operations; `impl Ops for MyBackend {}` is enough to join.
pub trait Ops: Backend {
    /// Product with a weight matrix, `x W`.
    ///
    /// # Shapes
    ///
    /// - input: `[tokens, in]`, weight: `[in, out]`, output: `[tokens, out]`
    fn project(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        linear::reference::linear(input, weight)
    }

    /// Root-mean-square normalization over the last dimension, `x / sqrt(mean(x^2) + eps) * weight`.
    ///
    /// # Shapes
    ///
    /// - input, output: `[tokens, width]`, weight: `[width]`
    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        norm::reference::rms_norm(input, weight, eps)
    }

    /// Gated activation, `silu(gate) * up`.
    ///
    /// # Shapes
    ///
    /// - gate, up, output: `[tokens, width]`
    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        swiglu::reference::swiglu(gate, up)
    }

    /// Rotary position embedding on interleaved pairs `(0, 1), (2, 3), ...` of the last dimension.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, dim]`
    /// - cos, sin: `[batch, seq, dim / 2]`
    fn rope(input: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        rope::reference::rope(input, cos, sin)
    }

    /// Scaled dot-product attention, causal and within documents.
    ///
    /// # Shapes
    ///
    /// - query, key: `[batch, seq, heads, dim]`, value: `[batch, seq, heads, value_dim]`
    /// - output: `[batch, seq, heads, value_dim]`
    fn causal_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        attention::reference::attention(query, key, value, mask, scale)
    }

    /// Indices of the `k` largest entries of every row, largest first; of equals, the lowest index.
    ///
    /// # Shapes
    ///
    /// - scores: `[tokens, experts]`, output: `[tokens, k]`
    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        top_k::reference::top_k(scores, k)
    }

    /// Routed SwiGLU experts, `y_t = sum_k w_tk (silu(x_t G_e) * (x_t U_e)) D_e` with `e = i_tk`. No token is dropped.
    ///
    /// # Shapes
    ///
    /// - input, output: `[tokens, hidden]`
    /// - gate, up: `[experts, hidden, width]`, down: `[experts, width, hidden]`
    /// - indices, weights: `[tokens, k]`
    fn experts(
        input: Tensor<Self, 2>,
        projections: experts::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        experts::grouped::experts(input, projections, indices, weights)
    }

    /// Negative log-likelihood of every target, `logsumexp(logits_t) - logits_t[target_t]`, in f32.
    ///
    /// # Shapes
    ///
    /// - logits: `[tokens, vocab]`, targets: `[tokens]`, output: `[tokens]`
    fn cross_entropy(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        cross_entropy::reference::cross_entropy(logits, targets)
    }

    /// One AdamW update of a flattened parameter. Not differentiable.
    ///
    /// # Shapes
    ///
    /// - parameter, gradient and both moments: `[elements]`
    fn adamw(
        parameter: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: Moments<Self>,
        step: &AdamWStep,
    ) -> (Tensor<Self, 1>, Moments<Self>) {
        adamw::reference::adamw(parameter, gradient, moments, step)
    }
}

mod backends {
    //! Every backend of burn 0.21 joins.

    use super::Ops;
    use burn::backend::Autodiff;
    use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;

    impl<B: Ops, C: CheckpointStrategy> Ops for Autodiff<B, C> {}

    #[cfg(feature = "flex")]
    impl Ops for burn_flex::Flex {}
}
