//! Reference implementations.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::HeadSharing;

/// See [`Ops::share_heads`](crate::Ops::share_heads).
pub fn share_heads<B: Backend>(
    heads: Tensor<B, 4>,
    each: usize,
    sharing: HeadSharing,
) -> Tensor<B, 4> {
    let [batch, seq, count, dim] = heads.dims();
    match sharing {
        HeadSharing::Tiled => heads
            .unsqueeze_dim::<5>(2)
            .expand([batch, seq, each, count, dim]),
        HeadSharing::Grouped => heads
            .unsqueeze_dim::<5>(3)
            .expand([batch, seq, count, each, dim]),
    }
    .reshape([batch, seq, each * count, dim])
}

/// See [`Ops::share_heads_backward`](crate::Ops::share_heads_backward).
pub fn share_heads_backward<B: Backend>(
    grad: Tensor<B, 4>,
    each: usize,
    sharing: HeadSharing,
) -> Tensor<B, 4> {
    let [batch, seq, heads, dim] = grad.dims();
    let count = heads / each;
    let sum = match sharing {
        HeadSharing::Tiled => grad.reshape([batch, seq, each, count, dim]).sum_dim(2),
        HeadSharing::Grouped => grad.reshape([batch, seq, count, each, dim]).sum_dim(3),
    };
    sum.reshape([batch, seq, count, dim])
}
