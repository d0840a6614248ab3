//! Differentiation of operations that move or repeat heads.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::Tensor;
use burn::tensor::ops::FloatTensor;

use super::node::{Derivative, below, primitive, record, wrap};
use crate::Ops;
use crate::heads::HeadSharing;

pub(super) fn swap_heads<B: Ops, C: CheckpointStrategy>(
    input: Tensor<Autodiff<B, C>, 4>,
) -> Tensor<Autodiff<B, C>, 4> {
    let input = primitive(input);
    let x: Tensor<B, 4> = below(&input);
    record::<B, C, _, 1, 4>([&input], |keep| (B::swap_heads(x), keep.then_some(Swap)))
}

#[derive(Debug, Clone)]
struct Swap;

impl<B: Ops> Derivative<B, 1> for Swap {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(B::swap_heads(wrap(grad))))]
    }
}

pub(super) fn share_heads<B: Ops, C: CheckpointStrategy>(
    heads: Tensor<Autodiff<B, C>, 4>,
    each: usize,
    sharing: HeadSharing,
) -> Tensor<Autodiff<B, C>, 4> {
    let heads = primitive(heads);
    let x: Tensor<B, 4> = below(&heads);
    record::<B, C, _, 1, 4>([&heads], |keep| {
        let shared = B::share_heads(x, each, sharing);
        (shared, keep.then_some(Share { each, sharing }))
    })
}

#[derive(Debug, Clone)]
struct Share {
    each: usize,
    sharing: HeadSharing,
}

impl<B: Ops> Derivative<B, 1> for Share {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        let grad = B::share_heads_backward(wrap(grad), self.each, self.sharing);
        [Some(primitive(grad))]
    }
}
