//! Fast CPU forms for burn-flex, and what they share.
//!
//! burn-flex runs elementwise operations and reductions on one thread, and clears the output buffer before a matrix
//! product. The forms here fuse the passes of an operation, run on all threads of the rayon pool, and are
//! deterministic to the bit: work is split by size alone, and every sum belongs to one task.

pub(crate) mod ahead;
pub(crate) mod fresh;
pub(crate) mod gemm;
pub(crate) mod matrix;
pub(crate) mod prefetch;
pub(crate) mod product;
pub(crate) mod rows;
pub(crate) mod simd;
pub(crate) mod stored;
pub(crate) mod team;
mod types;

use burn::tensor::{DType, Int, Tensor};
use burn_flex::Flex;

use crate::adamw::{self, AdamWStep, Moments};
use crate::attention::{self, AttentionMask, AttentionOptions};
use crate::experts::{self, Projections};
use crate::feed_forward::{self, Gated, Routed};
use crate::forgetting::{self, Forgetting};
use crate::heads::{self, HeadSharing};
use crate::linear_attention::{self, Attended, LinearAttention, LinearAttentionOptions, unpack};
use crate::paged::{self, Page, Past};
use crate::quantized::flex::Packed;
use crate::quantized::{self, Quantized};
use crate::unit::UnitEps;
use crate::weight::Weight;
use crate::{
    Ops, cross_entropy, largest, latent, linear, norm, rope, short_conv, swiglu, top_k, unit,
};
use rows::{all_f32, stored};
use types::{common_dtype, types, up_of};

/// Every method uses the fast form for f32 and the default for other types.
impl Ops for Flex {
    fn project(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype()]) && stored(weight.dtype()) {
            true => linear::flex::linear(input, weight),
            false => linear::reference::linear(input, weight),
        }
    }

    fn project_each(input: Tensor<Self, 2>, weights: Vec<Weight<Self, 2>>) -> Vec<Tensor<Self, 2>> {
        let output = linear::flex::linear_each(&input, &weights);
        output.unwrap_or_else(|| linear::reference::linear_each(input, weights))
    }

    fn project_saving(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype(), weight.dtype()]) {
            true => linear::flex::linear_saving(input, weight),
            false => Self::project(input, weight),
        }
    }

    fn project_transposed(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype()]) && stored(weight.dtype()) {
            true => linear::flex::linear_transposed(input, weight),
            false => linear::reference::linear_transposed(input, weight),
        }
    }

    fn absorb_query(query: Tensor<Self, 3>, weight: Weight<Self, 2>) -> Tensor<Self, 3> {
        let ([_, heads, nope], [_, columns]) = (query.dims(), weight.dims());
        let value = columns / heads - nope;
        match up_of(&weight, heads, value, query.dtype()) {
            Some(up) => latent::flex::absorb_query(query, &up),
            None => latent::reference::absorb_query(query, weight),
        }
    }

    fn expand_value(
        latent: Tensor<Self, 3>,
        weight: Weight<Self, 2>,
        value_dim: usize,
    ) -> Tensor<Self, 3> {
        let [_, heads, _] = latent.dims();
        match up_of(&weight, heads, value_dim, latent.dtype()) {
            Some(up) => latent::flex::expand_value(latent, &up),
            None => latent::reference::expand_value(latent, weight, value_dim),
        }
    }

    fn project_quantized(input: Tensor<Self, 2>, weight: Quantized<Self, 2>) -> Tensor<Self, 2> {
        match Packed::new(&weight).filter(|_| all_f32(&[input.dtype()])) {
            Some(packed) => quantized::flex::project(input, &packed),
            None => quantized::reference::project(input, weight),
        }
    }

    fn experts_quantized(
        input: Tensor<Self, 2>,
        projections: quantized::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let routed = Routed {
            experts: projections.clone().into(),
            indices: indices.clone(),
            weights: weights.clone(),
        };
        let output = feed_forward::flex::feed_forward(&input, Some(&routed), None);
        output
            .unwrap_or_else(|| quantized::reference::experts(input, projections, indices, weights))
    }

    fn project_backward(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
        needed: [bool; 2],
    ) -> [Option<Tensor<Self, 2>>; 2] {
        match all_f32(&[input.dtype(), weight.dtype(), grad.dtype()]) {
            true => linear::flex::linear_backward(input, weight, grad, needed),
            false => linear::backward::linear_backward(input, weight, grad, needed),
        }
    }

    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype(), weight.dtype()]) {
            true => norm::flex::rms_norm(input, weight, eps),
            false => norm::reference::rms_norm(input, weight, eps),
        }
    }

    fn rms_norm_backward(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        eps: f64,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        match all_f32(&[input.dtype(), weight.dtype(), grad.dtype()]) {
            true => norm::flex::rms_norm_backward(input, weight, eps, grad),
            false => norm::backward::rms_norm_backward(input, weight, eps, grad),
        }
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        match all_f32(&[gate.dtype(), up.dtype()]) {
            true => swiglu::flex::swiglu(gate, up),
            false => swiglu::reference::swiglu(gate, up),
        }
    }

    fn swiglu_backward(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        match all_f32(&[gate.dtype(), up.dtype(), grad.dtype()]) {
            true => swiglu::flex::swiglu_backward(gate, up, grad),
            false => swiglu::backward::swiglu_backward(gate, up, grad),
        }
    }

    fn rope(input: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        match all_f32(&[input.dtype(), cos.dtype(), sin.dtype()]) {
            true => rope::flex::rope(input, cos, sin),
            false => rope::reference::rope(input, cos, sin),
        }
    }

    fn rope_halves(
        input: Tensor<Self, 4>,
        cos: Tensor<Self, 3>,
        sin: Tensor<Self, 3>,
    ) -> Tensor<Self, 4> {
        match all_f32(&[input.dtype(), cos.dtype(), sin.dtype()]) {
            true => rope::halves_flex::rope_halves(input, cos, sin),
            false => rope::halves::rope_halves(input, cos, sin),
        }
    }

    fn unit_rows(input: Tensor<Self, 2>, eps: UnitEps) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype()]) {
            true => unit::flex::unit_rows(input, eps),
            false => unit::reference::unit_rows(input, eps),
        }
    }

    fn unit_rows_backward(
        input: Tensor<Self, 2>,
        eps: UnitEps,
        grad: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype(), grad.dtype()]) {
            true => unit::flex::unit_rows_backward(input, eps, grad),
            false => unit::reference::unit_rows_backward(input, eps, grad),
        }
    }

    fn causal_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> Tensor<Self, 4> {
        match all_f32(&[query.dtype(), key.dtype(), value.dtype()]) {
            true => attention::flex::attention_saving(query, key, value, mask, options).output,
            false => attention::reference::attention(query, key, value, mask, options),
        }
    }

    fn causal_attention_saving(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> attention::Saved<Self> {
        match all_f32(&[query.dtype(), key.dtype(), value.dtype()]) {
            true => attention::flex::attention_saving(query, key, value, mask, options),
            false => attention::backward::attention_saving(query, key, value, mask, options),
        }
    }

    fn causal_attention_backward(
        saved: attention::Saved<Self>,
        grad: Tensor<Self, 4>,
    ) -> [Tensor<Self, 4>; 3] {
        let (query, key, value) = (&saved.query, &saved.key, &saved.value);
        match all_f32(&[query.dtype(), key.dtype(), value.dtype(), grad.dtype()]) {
            true => attention::flex::attention_backward(saved, grad),
            false => attention::backward::attention_backward(saved, grad),
        }
    }

    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        let fast = match all_f32(&[query.dtype()]) {
            true => paged::flex::paged_attention(&query, pasts, options),
            false => None,
        };
        fast.unwrap_or_else(|| paged::reference::paged_attention(query, pasts, options))
    }

    fn write_rows(page: Page<Self>, at: usize, rows: Tensor<Self, 3>) -> Page<Self> {
        match all_f32(&[rows.dtype()]) {
            true => paged::flex_write::write_rows(page, at, rows),
            false => paged::reference::write_rows(page, at, rows),
        }
    }

    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        match all_f32(&[scores.dtype()]) {
            true => top_k::flex::top_k(scores, k),
            false => top_k::reference::top_k(scores, k),
        }
    }

    fn experts(
        input: Tensor<Self, 2>,
        projections: Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let routed = Routed {
            experts: projections.clone().into(),
            indices: indices.clone(),
            weights: weights.clone(),
        };
        let output = feed_forward::flex::feed_forward(&input, Some(&routed), None);
        output.unwrap_or_else(|| experts::grouped::experts(input, projections, indices, weights))
    }

    fn feed_forward(
        input: Tensor<Self, 2>,
        routed: Option<Routed<Self>>,
        shared: Option<Gated<Self, 2>>,
    ) -> Tensor<Self, 2> {
        let output = feed_forward::flex::feed_forward(&input, routed.as_ref(), shared.as_ref());
        output.unwrap_or_else(|| feed_forward::reference::feed_forward(input, routed, shared))
    }

    fn experts_saving(
        input: Tensor<Self, 2>,
        projections: Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, experts::Saved<Self>) {
        match all_f32(&types(&input, &projections, &weights)) {
            true => experts::flex::experts_saving(input, projections, indices, weights),
            false => experts::grouped::experts_saving(input, projections, indices, weights),
        }
    }

    fn experts_backward(
        saved: experts::Saved<Self>,
        grad: Tensor<Self, 2>,
        needed: experts::Needed,
    ) -> experts::Gradients<Self> {
        let types = types(&saved.input, &saved.projections, &saved.weights);
        match all_f32(&types) && all_f32(&[grad.dtype()]) {
            true => experts::flex_backward::experts_backward(saved, grad, needed),
            false => experts::grouped::experts_backward(saved, grad, needed),
        }
    }

    fn cross_entropy(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        match all_f32(&[logits.dtype()]) {
            true => cross_entropy::flex::cross_entropy_saving(logits, targets).0,
            false => cross_entropy::reference::cross_entropy(logits, targets),
        }
    }

    fn cross_entropy_saving(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
    ) -> (Tensor<Self, 1>, Tensor<Self, 1>) {
        match all_f32(&[logits.dtype()]) {
            true => cross_entropy::flex::cross_entropy_saving(logits, targets),
            false => cross_entropy::backward::cross_entropy_saving(logits, targets),
        }
    }

    fn cross_entropy_backward(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
        log_sum_exp: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        match all_f32(&[logits.dtype(), log_sum_exp.dtype(), grad.dtype()]) {
            true => cross_entropy::flex::cross_entropy_backward(logits, targets, log_sum_exp, grad),
            false => {
                cross_entropy::backward::cross_entropy_backward(logits, targets, log_sum_exp, grad)
            }
        }
    }

    fn linear_attention(
        input: LinearAttention<Self>,
        options: LinearAttentionOptions,
        mask: &AttentionMask<Self>,
    ) -> Attended<Self> {
        let [_, seq, _, _] = input.key.dims();
        let by_hand = Self::linear_attention_by_hand(common_dtype(&input));
        unpack((by_hand.forward)(input, options, mask), seq)
    }

    fn linear_attention_by_hand(dtype: DType) -> linear_attention::ByHand<Self> {
        match all_f32(&[dtype]) {
            true => linear_attention::ByHand {
                forward: linear_attention::flex::linear_attention,
                backward: linear_attention::flex_backward::linear_attention_backward,
            },
            false => linear_attention::ByHand::in_chunks(),
        }
    }

    fn short_conv(
        padded: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        mask: &AttentionMask<Self>,
    ) -> Tensor<Self, 3> {
        match all_f32(&[padded.dtype(), weight.dtype()]) {
            true => short_conv::flex::short_conv(padded, weight, mask),
            false => short_conv::reference::short_conv(padded, weight, mask),
        }
    }

    fn short_conv_by_hand(dtype: DType) -> Option<short_conv::ByHand<Self>> {
        all_f32(&[dtype]).then_some(short_conv::ByHand {
            forward: short_conv::flex::short_conv,
            backward: short_conv::flex::short_conv_backward,
        })
    }

    fn forgetting_attention(
        input: Forgetting<Self>,
        mask: &AttentionMask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let types = [input.query.dtype(), input.key.dtype(), input.value.dtype()];
        match all_f32(&types) && all_f32(&[input.kept.dtype()]) {
            true => {
                let softmaxes = forgetting::flex::forgetting_attention(input, mask, scale);
                heads::flex::swap_heads(softmaxes.output)
            }
            false => forgetting::reference::forgetting_attention(input, mask, scale),
        }
    }

    fn forgetting_attention_by_hand(dtype: DType) -> Option<forgetting::ByHand<Self>> {
        all_f32(&[dtype]).then_some(forgetting::ByHand {
            forward: forgetting::flex::forgetting_attention,
            backward: forgetting::flex::forgetting_attention_backward,
        })
    }

    fn swap_heads(input: Tensor<Self, 4>) -> Tensor<Self, 4> {
        match all_f32(&[input.dtype()]) {
            true => heads::flex::swap_heads(input),
            false => input.swap_dims(1, 2),
        }
    }

    fn share_heads(heads: Tensor<Self, 4>, each: usize, sharing: HeadSharing) -> Tensor<Self, 4> {
        match all_f32(&[heads.dtype()]) {
            true => heads::flex::share_heads(heads, each, sharing),
            false => heads::reference::share_heads(heads, each, sharing),
        }
    }

    fn share_heads_backward(
        grad: Tensor<Self, 4>,
        each: usize,
        sharing: HeadSharing,
    ) -> Tensor<Self, 4> {
        match all_f32(&[grad.dtype()]) {
            true => heads::flex::share_heads_backward(grad, each, sharing),
            false => heads::reference::share_heads_backward(grad, each, sharing),
        }
    }

    fn sum_of_squares(input: Tensor<Self, 1>) -> Tensor<Self, 1> {
        match all_f32(&[input.dtype()]) {
            true => norm::flex::sum_of_squares(input),
            false => norm::reference::sum_of_squares(input),
        }
    }

    fn forgetting_paged(
        query: Tensor<Self, 3>,
        seen: &forgetting::Seen<'_, Self>,
        scale: f64,
    ) -> Tensor<Self, 3> {
        let [new, _, _] = query.dims();
        let output = match all_f32(&[query.dtype()]) && new <= forgetting::flex_paged::FEW {
            true => forgetting::flex_paged::forgetting_paged(&query, seen, scale),
            false => None,
        };
        output.unwrap_or_else(|| forgetting::paged::forgetting_paged(query, seen, scale))
    }

    fn keep_largest(input: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        match all_f32(&[input.dtype()]) {
            true => largest::flex::keep_largest(input, k),
            false => largest::reference::keep_largest(input, k),
        }
    }

    fn mix_linear(
        layer: &linear_attention::Layer<Self>,
        positions: linear_attention::Positions<Self>,
        mask: &AttentionMask<Self>,
    ) -> linear_attention::Mixed<Self> {
        match linear_attention::flex_token::applies(layer, &positions) {
            true => linear_attention::flex_token::mix_token(layer, positions),
            false => linear_attention::layer::mix(layer, positions, mask),
        }
    }

    fn largest(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        match all_f32(&[scores.dtype()]) {
            true => largest::flex::largest(scores, k),
            false => largest::reference::largest(scores, k),
        }
    }

    fn adamw(
        parameter: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: Moments<Self>,
        step: &AdamWStep,
    ) -> (Tensor<Self, 1>, Moments<Self>) {
        let moment_types = [moments.first.dtype(), moments.second.dtype()];
        match all_f32(&[parameter.dtype(), gradient.dtype()]) && all_f32(&moment_types) {
            true => adamw::flex::adamw(parameter, gradient, moments, step),
            false => adamw::reference::adamw(parameter, gradient, moments, step),
        }
    }
}
