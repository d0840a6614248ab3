//! Which form each operation takes on burn-flex.

use burn::tensor::{DType, Int, Tensor};
use burn_flex::Flex;

use super::rows::{all_f32, stored};
use super::types::{common_dtype, types, up_of};
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

/// Every method uses the fast form for f32 and the default for other types.
impl Ops for Flex {
    fn project(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype()]) && stored(weight.dtype()) {
            linear::flex::linear(input, weight)
        } else {
            linear::reference::linear(input, weight)
        }
    }

    fn project_each(input: Tensor<Self, 2>, weights: Vec<Weight<Self, 2>>) -> Vec<Tensor<Self, 2>> {
        let output = linear::flex::linear_each(&input, &weights);
        output.unwrap_or_else(|| linear::reference::linear_each(input, weights))
    }

    fn project_saving(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype(), weight.dtype()]) {
            linear::flex::linear_saving(input, weight)
        } else {
            Self::project(input, weight)
        }
    }

    fn project_transposed(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype()]) && stored(weight.dtype()) {
            linear::flex::linear_transposed(input, weight)
        } else {
            linear::reference::linear_transposed(input, weight)
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
        if all_f32(&[input.dtype(), weight.dtype(), grad.dtype()]) {
            linear::flex::linear_backward(input, weight, grad, needed)
        } else {
            linear::backward::linear_backward(input, weight, grad, needed)
        }
    }

    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype(), weight.dtype()]) {
            norm::flex::rms_norm(input, weight, eps)
        } else {
            norm::reference::rms_norm(input, weight, eps)
        }
    }

    fn rms_norm_backward(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        eps: f64,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>) {
        if all_f32(&[input.dtype(), weight.dtype(), grad.dtype()]) {
            norm::flex::rms_norm_backward(input, weight, eps, grad)
        } else {
            norm::backward::rms_norm_backward(input, weight, eps, grad)
        }
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if all_f32(&[gate.dtype(), up.dtype()]) {
            swiglu::flex::swiglu(gate, up)
        } else {
            swiglu::reference::swiglu(gate, up)
        }
    }

    fn swiglu_backward(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        if all_f32(&[gate.dtype(), up.dtype(), grad.dtype()]) {
            swiglu::flex::swiglu_backward(gate, up, grad)
        } else {
            swiglu::backward::swiglu_backward(gate, up, grad)
        }
    }

    fn rope(input: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        if all_f32(&[input.dtype(), cos.dtype(), sin.dtype()]) {
            rope::flex::rope(input, cos, sin)
        } else {
            rope::reference::rope(input, cos, sin)
        }
    }

    fn rope_halves(
        input: Tensor<Self, 4>,
        cos: Tensor<Self, 3>,
        sin: Tensor<Self, 3>,
    ) -> Tensor<Self, 4> {
        if all_f32(&[input.dtype(), cos.dtype(), sin.dtype()]) {
            rope::halves_flex::rope_halves(input, cos, sin)
        } else {
            rope::halves::rope_halves(input, cos, sin)
        }
    }

    fn unit_rows(input: Tensor<Self, 2>, eps: UnitEps) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype()]) {
            unit::flex::unit_rows(input, eps)
        } else {
            unit::reference::unit_rows(input, eps)
        }
    }

    fn unit_rows_backward(
        input: Tensor<Self, 2>,
        eps: UnitEps,
        grad: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype(), grad.dtype()]) {
            unit::flex::unit_rows_backward(input, eps, grad)
        } else {
            unit::reference::unit_rows_backward(input, eps, grad)
        }
    }

    fn causal_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> Tensor<Self, 4> {
        if all_f32(&[query.dtype(), key.dtype(), value.dtype()]) {
            attention::flex::attention_saving(query, key, value, mask, options).output
        } else {
            attention::reference::attention(query, key, value, mask, options)
        }
    }

    fn causal_attention_saving(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> attention::Saved<Self> {
        if all_f32(&[query.dtype(), key.dtype(), value.dtype()]) {
            attention::flex::attention_saving(query, key, value, mask, options)
        } else {
            attention::backward::attention_saving(query, key, value, mask, options)
        }
    }

    fn causal_attention_backward(
        saved: attention::Saved<Self>,
        grad: Tensor<Self, 4>,
    ) -> [Tensor<Self, 4>; 3] {
        let (query, key, value) = (&saved.query, &saved.key, &saved.value);
        if all_f32(&[query.dtype(), key.dtype(), value.dtype(), grad.dtype()]) {
            attention::flex::attention_backward(saved, grad)
        } else {
            attention::backward::attention_backward(saved, grad)
        }
    }

    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        let fast = if all_f32(&[query.dtype()]) {
            paged::flex::paged_attention(&query, pasts, options)
        } else {
            None
        };
        fast.unwrap_or_else(|| paged::reference::paged_attention(query, pasts, options))
    }

    fn write_rows(page: Page<Self>, at: usize, rows: Tensor<Self, 3>) -> Page<Self> {
        if all_f32(&[rows.dtype()]) {
            paged::flex_write::write_rows(page, at, rows)
        } else {
            paged::reference::write_rows(page, at, rows)
        }
    }

    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        if all_f32(&[scores.dtype()]) {
            top_k::flex::top_k(scores, k)
        } else {
            top_k::reference::top_k(scores, k)
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
        if all_f32(&types(&input, &projections, &weights)) {
            experts::flex::experts_saving(input, projections, indices, weights)
        } else {
            experts::grouped::experts_saving(input, projections, indices, weights)
        }
    }

    fn experts_backward(
        saved: experts::Saved<Self>,
        grad: Tensor<Self, 2>,
        needed: experts::Needed,
    ) -> experts::Gradients<Self> {
        let types = types(&saved.input, &saved.projections, &saved.weights);
        if all_f32(&types) && all_f32(&[grad.dtype()]) {
            experts::flex_backward::experts_backward(saved, grad, needed)
        } else {
            experts::grouped::experts_backward(saved, grad, needed)
        }
    }

    fn cross_entropy(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        if all_f32(&[logits.dtype()]) {
            cross_entropy::flex::cross_entropy_saving(logits, targets).0
        } else {
            cross_entropy::reference::cross_entropy(logits, targets)
        }
    }

    fn cross_entropy_saving(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
    ) -> (Tensor<Self, 1>, Tensor<Self, 1>) {
        if all_f32(&[logits.dtype()]) {
            cross_entropy::flex::cross_entropy_saving(logits, targets)
        } else {
            cross_entropy::backward::cross_entropy_saving(logits, targets)
        }
    }

    fn cross_entropy_backward(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
        log_sum_exp: Tensor<Self, 1>,
        grad: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        if all_f32(&[logits.dtype(), log_sum_exp.dtype(), grad.dtype()]) {
            cross_entropy::flex::cross_entropy_backward(logits, targets, log_sum_exp, grad)
        } else {
            cross_entropy::backward::cross_entropy_backward(logits, targets, log_sum_exp, grad)
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
        if all_f32(&[dtype]) {
            linear_attention::ByHand {
                forward: linear_attention::flex::linear_attention,
                backward: linear_attention::flex_backward::linear_attention_backward,
            }
        } else {
            linear_attention::ByHand::in_chunks()
        }
    }

    fn short_conv(
        padded: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        mask: &AttentionMask<Self>,
    ) -> Tensor<Self, 3> {
        if all_f32(&[padded.dtype(), weight.dtype()]) {
            short_conv::flex::short_conv(padded, weight, mask)
        } else {
            short_conv::reference::short_conv(padded, weight, mask)
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
        if all_f32(&types) && all_f32(&[input.kept.dtype()]) {
            let softmaxes = forgetting::flex::forgetting_attention(input, mask, scale);
            heads::flex::swap_heads(softmaxes.output)
        } else {
            forgetting::reference::forgetting_attention(input, mask, scale)
        }
    }

    fn forgetting_attention_by_hand(dtype: DType) -> Option<forgetting::ByHand<Self>> {
        all_f32(&[dtype]).then_some(forgetting::ByHand {
            forward: forgetting::flex::forgetting_attention,
            backward: forgetting::flex::forgetting_attention_backward,
        })
    }

    fn swap_heads(input: Tensor<Self, 4>) -> Tensor<Self, 4> {
        if all_f32(&[input.dtype()]) {
            heads::flex::swap_heads(input)
        } else {
            input.swap_dims(1, 2)
        }
    }

    fn share_heads(heads: Tensor<Self, 4>, each: usize, sharing: HeadSharing) -> Tensor<Self, 4> {
        if all_f32(&[heads.dtype()]) {
            heads::flex::share_heads(heads, each, sharing)
        } else {
            heads::reference::share_heads(heads, each, sharing)
        }
    }

    fn share_heads_backward(
        grad: Tensor<Self, 4>,
        each: usize,
        sharing: HeadSharing,
    ) -> Tensor<Self, 4> {
        if all_f32(&[grad.dtype()]) {
            heads::flex::share_heads_backward(grad, each, sharing)
        } else {
            heads::reference::share_heads_backward(grad, each, sharing)
        }
    }

    fn sum_of_squares(input: Tensor<Self, 1>) -> Tensor<Self, 1> {
        if all_f32(&[input.dtype()]) {
            norm::flex::sum_of_squares(input)
        } else {
            norm::reference::sum_of_squares(input)
        }
    }

    fn forgetting_paged(
        query: Tensor<Self, 3>,
        seen: &forgetting::Seen<'_, Self>,
        scale: f64,
    ) -> Tensor<Self, 3> {
        let [new, _, _] = query.dims();
        let output = if all_f32(&[query.dtype()]) && new <= forgetting::flex_paged::FEW {
            forgetting::flex_paged::forgetting_paged(&query, seen, scale)
        } else {
            None
        };
        output.unwrap_or_else(|| forgetting::paged::forgetting_paged(query, seen, scale))
    }

    fn keep_largest(input: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        if all_f32(&[input.dtype()]) {
            largest::flex::keep_largest(input, k)
        } else {
            largest::reference::keep_largest(input, k)
        }
    }

    fn mix_linear(
        layer: &linear_attention::Layer<Self>,
        positions: linear_attention::Positions<Self>,
        mask: &AttentionMask<Self>,
    ) -> linear_attention::Mixed<Self> {
        if linear_attention::flex_token::applies(layer, &positions) {
            linear_attention::flex_token::mix_token(layer, positions)
        } else {
            linear_attention::layer::mix(layer, positions, mask)
        }
    }

    fn largest(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        if all_f32(&[scores.dtype()]) {
            largest::flex::largest(scores, k)
        } else {
            largest::reference::largest(scores, k)
        }
    }

    fn adamw(
        parameter: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: Moments<Self>,
        step: &AdamWStep,
    ) -> (Tensor<Self, 1>, Moments<Self>) {
        let moment_types = [moments.first.dtype(), moments.second.dtype()];
        if all_f32(&[parameter.dtype(), gradient.dtype()]) && all_f32(&moment_types) {
            adamw::flex::adamw(parameter, gradient, moments, step)
        } else {
            adamw::reference::adamw(parameter, gradient, moments, step)
        }
    }
}
