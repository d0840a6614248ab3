//! Differentiation of recurrent and decaying sequence operations.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use super::node::{Derivative, below, integers, primitive, record, wrap};
use crate::Ops;
use crate::attention::AttentionMask;
use crate::forgetting::{self, Forgetting, Softmaxes};
use crate::linear_attention::{self, Attended, LinearAttention, LinearAttentionOptions, unpack};
use crate::short_conv;
use crate::unit::UnitEps;

/// The mask on the inner backend.
pub(super) fn mask_below<B: Backend, C: CheckpointStrategy>(
    mask: &AttentionMask<Autodiff<B, C>>,
) -> AttentionMask<B> {
    match mask {
        AttentionMask::Causal => AttentionMask::Causal,
        AttentionMask::Documents(documents) => {
            AttentionMask::Documents(integers(documents.clone()))
        }
    }
}

pub(super) fn linear_attention<B: Ops, C: CheckpointStrategy>(
    input: LinearAttention<Autodiff<B, C>>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<Autodiff<B, C>>,
) -> Attended<Autodiff<B, C>> {
    let by_hand = B::linear_attention_by_hand(input.query.dtype());
    let [_, seq, _, _] = input.key.dims();
    let LinearAttention {
        query,
        key,
        value,
        log_decay,
        write,
        state,
    } = input;
    let tensors = [query, key, value, state].map(primitive);
    let gates = [log_decay, write].map(primitive);
    let [query, key, value, state] = tensors.each_ref().map(below);
    let [log_decay, write] = gates.each_ref().map(below);
    let input = LinearAttention {
        query,
        key,
        value,
        log_decay,
        write,
        state,
    };
    let mask = mask_below(mask);
    let [query, key, value, state] = &tensors;
    let [log_decay, write] = &gates;
    let parents = [query, key, value, log_decay, write, state];
    let packed = record::<B, C, _, 6, 4>(parents, |keep| {
        let output = (by_hand.forward)(input.clone(), options, &mask);
        let saved = keep.then_some(Linear {
            input,
            options,
            mask,
            by_hand,
        });
        (output, saved)
    });
    unpack(packed, seq)
}

#[derive(Debug, Clone)]
struct Linear<B: Backend> {
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    mask: AttentionMask<B>,
    by_hand: linear_attention::ByHand<B>,
}

impl<B: Ops> Derivative<B, 6> for Linear<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 6]) -> [Option<FloatTensor<B>>; 6] {
        let grads = (self.by_hand.backward)(self.input, self.options, &self.mask, wrap(grad));
        [
            Some(primitive(grads.query)),
            Some(primitive(grads.key)),
            Some(primitive(grads.value)),
            Some(primitive(grads.log_decay)),
            Some(primitive(grads.write)),
            Some(primitive(grads.state)),
        ]
    }
}

pub(super) fn short_conv<B: Ops, C: CheckpointStrategy>(
    padded: Tensor<Autodiff<B, C>, 3>,
    weight: Tensor<Autodiff<B, C>, 2>,
    mask: &AttentionMask<Autodiff<B, C>>,
) -> Tensor<Autodiff<B, C>, 3> {
    let Some(by_hand) = B::short_conv_by_hand(padded.dtype()) else {
        return short_conv::reference::short_conv(padded, weight, mask);
    };
    let (padded, weight) = (primitive(padded), primitive(weight));
    let (x, w) = (below(&padded), below(&weight));
    let mask = mask_below(mask);
    record::<B, C, _, 2, 3>([&padded, &weight], |keep| {
        let output = (by_hand.forward)(x.clone(), w.clone(), &mask);
        let saved = keep.then_some(Conv {
            padded: x,
            weight: w,
            mask,
            by_hand,
        });
        (output, saved)
    })
}

#[derive(Debug, Clone)]
struct Conv<B: Backend> {
    padded: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    mask: AttentionMask<B>,
    by_hand: short_conv::ByHand<B>,
}

impl<B: Ops> Derivative<B, 2> for Conv<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        let (padded, weight) =
            (self.by_hand.backward)(self.padded, self.weight, &self.mask, wrap(grad));
        [Some(primitive(padded)), Some(primitive(weight))]
    }
}

pub(super) fn forgetting_attention<B: Ops, C: CheckpointStrategy>(
    input: Forgetting<Autodiff<B, C>>,
    mask: &AttentionMask<Autodiff<B, C>>,
    scale: f64,
) -> Tensor<Autodiff<B, C>, 4> {
    let Some(by_hand) = B::forgetting_attention_by_hand(input.query.dtype()) else {
        return forgetting::reference::forgetting_attention(input, mask, scale);
    };
    let Forgetting {
        query,
        key,
        value,
        kept,
    } = input;
    let tensors = [query, key, value].map(primitive);
    let kept = primitive(kept);
    let [query, key, value] = tensors.each_ref().map(below);
    let input = Forgetting {
        query,
        key,
        value,
        kept: below(&kept),
    };
    let mask = mask_below(mask);
    let [query, key, value] = &tensors;
    record::<B, C, _, 4, 4>([query, key, value, &kept], |keep| {
        let softmaxes = (by_hand.forward)(input.clone(), &mask, scale);
        let output = B::swap_heads(softmaxes.output.clone());
        let saved = keep.then_some(Forgot {
            input,
            mask,
            scale,
            softmaxes,
            by_hand,
        });
        (output, saved)
    })
}

#[derive(Debug, Clone)]
struct Forgot<B: Backend> {
    input: Forgetting<B>,
    mask: AttentionMask<B>,
    scale: f64,
    softmaxes: Softmaxes<B>,
    by_hand: forgetting::ByHand<B>,
}

impl<B: Ops> Derivative<B, 4> for Forgot<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 4]) -> [Option<FloatTensor<B>>; 4] {
        let Self {
            input,
            mask,
            scale,
            softmaxes,
            by_hand,
        } = self;
        let grads = (by_hand.backward)(input, &mask, scale, softmaxes, wrap(grad));
        [
            Some(primitive(grads.query)),
            Some(primitive(grads.key)),
            Some(primitive(grads.value)),
            Some(primitive(grads.kept)),
        ]
    }
}

pub(super) fn rope_halves<B: Ops, C: CheckpointStrategy>(
    input: Tensor<Autodiff<B, C>, 4>,
    cos: Tensor<Autodiff<B, C>, 3>,
    sin: Tensor<Autodiff<B, C>, 3>,
) -> Tensor<Autodiff<B, C>, 4> {
    let input = primitive(input);
    let (x, cos, sin) = (
        below(&input),
        below(&primitive(cos)),
        below(&primitive(sin)),
    );
    record::<B, C, _, 1, 4>([&input], |keep| {
        let output = B::rope_halves(x, cos.clone(), sin.clone());
        (output, keep.then_some(Halves { cos, sin }))
    })
}

#[derive(Debug, Clone)]
struct Halves<B: Backend> {
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
}

impl<B: Ops> Derivative<B, 1> for Halves<B> {
    /// The transpose of a rotation is the rotation by the negative angle.
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        let grad = B::rope_halves(wrap(grad), self.cos, self.sin.neg());
        [Some(primitive(grad))]
    }
}

pub(super) fn unit_rows<B: Ops, C: CheckpointStrategy>(
    input: Tensor<Autodiff<B, C>, 2>,
    eps: UnitEps,
) -> Tensor<Autodiff<B, C>, 2> {
    let input = primitive(input);
    let x: Tensor<B, 2> = below(&input);
    record::<B, C, _, 1, 2>([&input], |keep| {
        let output = B::unit_rows(x.clone(), eps);
        (output, keep.then_some(Unit { input: x, eps }))
    })
}

#[derive(Debug, Clone)]
struct Unit<B: Backend> {
    input: Tensor<B, 2>,
    eps: UnitEps,
}

impl<B: Ops> Derivative<B, 1> for Unit<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        let grad = B::unit_rows_backward(self.input, self.eps, wrap(grad));
        [Some(primitive(grad))]
    }
}
