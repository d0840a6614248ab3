//! [`Ops`], the sub-trait of burn's `Backend` that the models compute with.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use crate::adamw::{self, AdamWStep, Moments};
use crate::attention::{self, AttentionMask, AttentionOptions};
use crate::feed_forward::{self, Gated, Routed};
use crate::forgetting::{self, Forgetting};
use crate::heads::{self, HeadSharing};
use crate::linear_attention::{self, Attended, LinearAttention, LinearAttentionOptions};
use crate::paged::{self, Page, Past};
use crate::unit::UnitEps;
use crate::weight::Weight;
use crate::{
    cross_entropy, experts, largest, latent, linear, norm, quantized, rope, short_conv, swiglu,
    top_k, unit,
};

/// A backend that can run the models of Darkhorse Genesis.
///
/// Every method has a default in burn's operations; `impl Ops for MyBackend {}` is enough to join.
pub trait Ops: Backend {
    /// Product with a weight matrix, `x W`.
    ///
    /// The output has the input's floating-point type; the weight's may differ. On flex, the bits of an output row
    /// do not depend on the other rows.
    ///
    /// Shapes: input: `[tokens, in]`, weight: `[in, out]`, output: `[tokens, out]`
    fn project(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        linear::reference::linear(input, weight)
    }

    /// [`project`](Self::project) of one input with several weights, which may be quantized in blocks.
    ///
    /// Shapes: input: `[tokens, in]`, weights: `[in, out]` each, outputs: `[tokens, out]`
    fn project_each(input: Tensor<Self, 2>, weights: Vec<Weight<Self, 2>>) -> Vec<Tensor<Self, 2>> {
        linear::reference::linear_each(input, weights)
    }

    /// [`project`](Self::project) in a pass that will be differentiated: sums may run in any order.
    fn project_saving(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        Self::project(input, weight)
    }

    /// Product with a transposed weight matrix, `x W^T`, as in a language-model head tied to the embedding table.
    /// Types and bits as in [`project`](Self::project).
    ///
    /// Shapes: input: `[tokens, in]`, weight: `[out, in]`, output: `[tokens, out]`
    fn project_transposed(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        linear::reference::linear_transposed(input, weight)
    }

    /// [`project`](Self::project) with a weight quantized in blocks. Not differentiable.
    ///
    /// Shapes: input: `[tokens, in]`, weight: `[in, out]`, output: `[tokens, out]`
    fn project_quantized(
        input: Tensor<Self, 2>,
        weight: quantized::Quantized<Self, 2>,
    ) -> Tensor<Self, 2> {
        quantized::reference::project(input, weight)
    }

    /// [`experts`](Self::experts) with weights quantized in blocks. Not differentiable.
    fn experts_quantized(
        input: Tensor<Self, 2>,
        projections: quantized::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        quantized::reference::experts(input, projections, indices, weights)
    }

    /// Gradients of [`project`](Self::project), `dX = dY W^T` and `dW = X^T dY`; `needed` selects which are
    /// computed.
    fn project_backward(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
        needed: [bool; 2],
    ) -> [Option<Tensor<Self, 2>>; 2] {
        linear::backward::linear_backward(input, weight, grad, needed)
    }

    /// Root-mean-square normalization over the last dimension, `x / sqrt(mean(x^2) + eps) * weight`.
    ///
    /// Shapes: input, output: `[tokens, width]`, weight: `[width]`
    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        norm::reference::rms_norm(input, weight, eps)
    }

    /// Gradients of [`rms_norm`](Self::rms_norm) with respect to the input and the weight.
    fn rms_norm_backward(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        eps: f64,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        norm::backward::rms_norm_backward(input, weight, eps, grad)
    }

    /// SwiGLU activation, `silu(gate) * up`.
    ///
    /// Shapes: gate, up, output: `[tokens, width]`
    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        swiglu::reference::swiglu(gate, up)
    }

    /// Gradients of [`swiglu`](Self::swiglu) with respect to `gate` and `up`.
    fn swiglu_backward(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        swiglu::backward::swiglu_backward(gate, up, grad)
    }

    /// Rotary position embedding on interleaved pairs `(0, 1), (2, 3), ...` of the last dimension.
    ///
    /// The angles are constants: no gradient reaches `cos` and `sin`.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, dim]`
    /// - cos, sin: `[batch, seq, dim / 2]`
    fn rope(input: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        rope::reference::rope(input, cos, sin)
    }

    /// Rotary position embedding on pairs `(j, j + half)` of the leading `2 * half` dimensions; the other dimensions
    /// are copied. No gradient reaches `cos` and `sin`.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, heads, dim]`, `dim` at least `2 * half`
    /// - cos, sin: `[batch, seq, half]`
    fn rope_halves(
        input: Tensor<Self, 4>,
        cos: Tensor<Self, 3>,
        sin: Tensor<Self, 3>,
    ) -> Tensor<Self, 4> {
        rope::halves::rope_halves(input, cos, sin)
    }

    /// Divides every row by its Euclidean length; `eps` keeps the divisor above zero.
    ///
    /// Shapes: input, output: `[rows, width]`
    fn unit_rows(input: Tensor<Self, 2>, eps: UnitEps) -> Tensor<Self, 2> {
        unit::reference::unit_rows(input, eps)
    }

    /// Gradient of [`unit_rows`](Self::unit_rows).
    fn unit_rows_backward(
        input: Tensor<Self, 2>,
        eps: UnitEps,
        grad: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        unit::reference::unit_rows_backward(input, eps, grad)
    }

    /// Scaled dot-product attention, causal, within documents, and within the sliding window of `options`.
    ///
    /// A window holds at least one position: the query's own.
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
        options: AttentionOptions,
    ) -> Tensor<Self, 4> {
        attention::reference::attention(query, key, value, mask, options)
    }

    /// [`causal_attention`](Self::causal_attention) that also returns the values its backward pass needs.
    fn causal_attention_saving(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> attention::Saved<Self> {
        attention::backward::attention_saving(query, key, value, mask, options)
    }

    /// Gradients of [`causal_attention`](Self::causal_attention) with respect to query, key and value.
    fn causal_attention_backward(
        saved: attention::Saved<Self>,
        grad: Tensor<Self, 4>,
    ) -> [Tensor<Self, 4>; 3] {
        attention::backward::attention_backward(saved, grad)
    }

    /// Attention of the newest tokens of several sequences to their paged caches. Not differentiable.
    ///
    /// In a sequence of `len` tokens of which `new` are new, new token `i` sees the positions up to `len - new + i`,
    /// or the last `window` of these if `options` has a window. Pages may have another format than the query. Query
    /// heads `j * heads / kv_heads ..` share key head `j`; with [`Values::Expanded`](paged::Values::Expanded) every
    /// head has its own key. All pasts must store their values in the same way. On flex, the bits of a token's
    /// output do not depend on what is computed beside it while its own sequence has fewer than 32 new tokens; from
    /// 32 on they depend on that number.
    ///
    /// # Shapes
    ///
    /// - query: `[tokens, heads, dim]`, the newest tokens of every sequence, concatenated
    /// - output: `[tokens, heads, value_dim]`
    ///
    /// # Panics
    ///
    /// If a past is shorter than its new tokens or than its pages hold.
    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        paged::reference::paged_attention(query, pasts, options)
    }

    /// Writes rows into a page in the page's format, starting at row `at`. On flex this happens in place if nothing
    /// else holds the page. Not differentiable.
    ///
    /// Shapes: page, output: `[page_len, kv_heads, dim]`, rows: `[count, kv_heads, dim]`
    fn write_rows(page: Page<Self>, at: usize, rows: Tensor<Self, 3>) -> Page<Self> {
        paged::reference::write_rows(page, at, rows)
    }

    /// Maps queries to the latent space of MLA, `q_h U_h^T`, where `U_h` are the key columns of head `h`.
    ///
    /// # Shapes
    ///
    /// - query: `[tokens, heads, nope]`, weight: `[rank, heads * (nope + value)]`
    /// - output: `[tokens, heads, rank]`
    fn absorb_query(query: Tensor<Self, 3>, weight: Weight<Self, 2>) -> Tensor<Self, 3> {
        latent::reference::absorb_query(query, weight)
    }

    /// Maps attended latents to values, `o_h V_h`, where `V_h` are the value columns of head `h`.
    ///
    /// # Shapes
    ///
    /// - latent: `[tokens, heads, rank]`, weight: `[rank, heads * (nope + value)]`
    /// - output: `[tokens, heads, value]`
    fn expand_value(
        latent: Tensor<Self, 3>,
        weight: Weight<Self, 2>,
        value_dim: usize,
    ) -> Tensor<Self, 3> {
        latent::reference::expand_value(latent, weight, value_dim)
    }

    /// Indices of the `k` largest entries of every row, largest first; ties go to the lowest index.
    ///
    /// Shapes: scores: `[tokens, experts]`, output: `[tokens, k]`
    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        top_k::reference::top_k(scores, k)
    }

    /// Routed SwiGLU experts, `y_t = sum_k w_tk (silu(x_t G_e) * (x_t U_e)) D_e` with `e = i_tk`. No token is
    /// dropped.
    ///
    /// An index at or above the number of experts names no expert: it costs no work, adds nothing to the output, and
    /// the gradient of its weight is zero.
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

    /// Sum of the routed [`experts`](Self::experts) and a shared SwiGLU `(silu(x G) * (x U)) D`; either may be
    /// absent.
    ///
    /// On flex, the bits equal those of the two computed separately.
    ///
    /// Shapes: input, output: `[tokens, hidden]`
    fn feed_forward(
        input: Tensor<Self, 2>,
        routed: Option<Routed<Self>>,
        shared: Option<Gated<Self, 2>>,
    ) -> Tensor<Self, 2> {
        feed_forward::reference::feed_forward(input, routed, shared)
    }

    /// [`experts`](Self::experts) that also returns the values its backward pass needs.
    fn experts_saving(
        input: Tensor<Self, 2>,
        projections: experts::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, experts::Saved<Self>) {
        experts::grouped::experts_saving(input, projections, indices, weights)
    }

    /// Gradients of [`experts`](Self::experts); `needed` selects which are computed.
    fn experts_backward(
        saved: experts::Saved<Self>,
        grad: Tensor<Self, 2>,
        needed: experts::Needed,
    ) -> experts::Gradients<Self> {
        experts::grouped::experts_backward(saved, grad, needed)
    }

    /// Negative log-likelihood of every target, `logsumexp(logits_t) - logits_t[target_t]`, in f32.
    ///
    /// Shapes: logits: `[tokens, vocab]`, targets: `[tokens]`, output: `[tokens]`
    fn cross_entropy(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        cross_entropy::reference::cross_entropy(logits, targets)
    }

    /// [`cross_entropy`](Self::cross_entropy) that also returns `logsumexp` of every row in f32, `[tokens]`.
    fn cross_entropy_saving(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
    ) -> (Tensor<Self, 1>, Tensor<Self, 1>) {
        cross_entropy::backward::cross_entropy_saving(logits, targets)
    }

    /// Gradient of [`cross_entropy`](Self::cross_entropy): `dy_t (softmax(logits_t) - onehot(target_t))`.
    fn cross_entropy_backward(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
        log_sum_exp: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        cross_entropy::backward::cross_entropy_backward(logits, targets, log_sum_exp, grad)
    }

    /// Linear attention with a decaying matrix state, `o_t = s q_t^T S_t`, where `s` is the scale of `options` and its
    /// rule defines how a token updates the state `S_t`. Every document of a row but its first begins with a zero state.
    ///
    /// # Shapes
    ///
    /// See [`LinearAttention`] and [`Attended`].
    fn linear_attention(
        input: LinearAttention<Self>,
        options: LinearAttentionOptions,
        mask: &AttentionMask<Self>,
    ) -> Attended<Self> {
        let [_, seq, _, _] = input.key.dims();
        let by_hand = Self::linear_attention_by_hand(input.query.dtype());
        linear_attention::unpack((by_hand.forward)(input, options, mask), seq)
    }

    /// Forward and backward pass of [`linear_attention`](Self::linear_attention), whose gradients are written by
    /// hand.
    fn linear_attention_by_hand(_dtype: DType) -> linear_attention::ByHand<Self> {
        linear_attention::ByHand::in_chunks()
    }

    /// A linear-attention layer from the outputs of its input projections up to, but without, its output
    /// normalization.
    ///
    /// # Shapes
    ///
    /// See [`Layer`](linear_attention::Layer), [`Positions`](linear_attention::Positions) and
    /// [`Mixed`](linear_attention::Mixed).
    fn mix_linear(
        layer: &linear_attention::Layer<Self>,
        positions: linear_attention::Positions<Self>,
        mask: &AttentionMask<Self>,
    ) -> linear_attention::Mixed<Self> {
        linear_attention::layer::mix(layer, positions, mask)
    }

    /// Causal depthwise convolution with SiLU, `y_tc = silu(sum_j w_cj x_(t+j)c)`, over tokens padded on the left.
    /// Taps do not cross document boundaries (changes of the document number). The padding belongs to a row's first
    /// document.
    ///
    /// Shapes: padded: `[batch, taps - 1 + seq, channels]`, weight: `[channels, taps]`, output: `[batch, seq, channels]`
    fn short_conv(
        padded: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        mask: &AttentionMask<Self>,
    ) -> Tensor<Self, 3> {
        short_conv::reference::short_conv(padded, weight, mask)
    }

    /// Hand-written forward and backward pass of [`short_conv`](Self::short_conv), if this backend has one.
    fn short_conv_by_hand(_dtype: DType) -> Option<short_conv::ByHand<Self>> {
        None
    }

    /// Causal softmax attention with a forget gate, `softmax_j(s q_i . k_j + F_i - F_j)`, where `s` is `scale` and `F`
    /// the cumulative log of the forget gates. The queries belong to the newest positions; with documents there must be
    /// a query for every position.
    ///
    /// # Shapes
    ///
    /// See [`Forgetting`]; output: `[batch, new, heads, value_dim]`
    fn forgetting_attention(
        input: Forgetting<Self>,
        mask: &AttentionMask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        forgetting::reference::forgetting_attention(input, mask, scale)
    }

    /// [`forgetting_attention`](Self::forgetting_attention) of the newest positions of one sequence to its paged
    /// cache, which may have another floating-point type than the query. Not differentiable.
    ///
    /// Shapes: query: `[new, heads, dim]`, output: `[new, heads, value_dim]`
    fn forgetting_paged(
        query: Tensor<Self, 3>,
        seen: &forgetting::Seen<'_, Self>,
        scale: f64,
    ) -> Tensor<Self, 3> {
        forgetting::paged::forgetting_paged(query, seen, scale)
    }

    /// Hand-written forward and backward pass of [`forgetting_attention`](Self::forgetting_attention), if this
    /// backend has one.
    fn forgetting_attention_by_hand(_dtype: DType) -> Option<forgetting::ByHand<Self>> {
        None
    }

    /// Mask of the `k` largest entries of every row: 1 where an entry is kept, 0 elsewhere. All ties with the `k`-th
    /// largest are kept. Not differentiable.
    ///
    /// Shapes: scores, output: `[tokens, width]`
    fn largest(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        largest::reference::largest(scores, k)
    }

    /// Keeps the `k` entries of largest magnitude in every row and zeroes the others. All ties with the `k`-th are
    /// kept.
    ///
    /// Shapes: input, output: `[tokens, width]`
    fn keep_largest(input: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        largest::reference::keep_largest(input, k)
    }

    /// Swaps the two inner dimensions, also in memory.
    ///
    /// Shapes: input: `[batch, a, b, dim]`, output: `[batch, b, a, dim]`
    fn swap_heads(input: Tensor<Self, 4>) -> Tensor<Self, 4> {
        input.swap_dims(1, 2)
    }

    /// Repeats every head `each` times, ordered as `sharing` says.
    ///
    /// Shapes: heads: `[batch, seq, count, dim]`, output: `[batch, seq, count * each, dim]`
    fn share_heads(heads: Tensor<Self, 4>, each: usize, sharing: HeadSharing) -> Tensor<Self, 4> {
        heads::reference::share_heads(heads, each, sharing)
    }

    /// Gradient of [`share_heads`](Self::share_heads).
    fn share_heads_backward(
        grad: Tensor<Self, 4>,
        each: usize,
        sharing: HeadSharing,
    ) -> Tensor<Self, 4> {
        heads::reference::share_heads_backward(grad, each, sharing)
    }

    /// Sum of squares in f32, `[1]`. Not differentiable.
    ///
    /// Shapes: input: `[elements]`
    fn sum_of_squares(input: Tensor<Self, 1>) -> Tensor<Self, 1> {
        norm::reference::sum_of_squares(input)
    }

    /// One AdamW update of a flattened parameter. Not differentiable.
    ///
    /// Shapes: parameter, gradient and both moments: `[elements]`
    fn adamw(
        parameter: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: Moments<Self>,
        step: &AdamWStep,
    ) -> (Tensor<Self, 1>, Moments<Self>) {
        adamw::reference::adamw(parameter, gradient, moments, step)
    }
}
