//! Reference implementation: `k` times the largest entry that is not chosen yet.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// See [`Ops::top_k`](crate::Ops::top_k). The scores must be finite.
pub fn top_k<B: Backend>(scores: Tensor<B, 2>, k: usize) -> Tensor<B, 2, Int> {
    let [_, experts] = scores.dims();
    let columns = Tensor::<B, 1, Int>::arange(0..experts as i64, &scores.device()).unsqueeze();
    let mut left = scores.detach();
    let mut chosen = Vec::with_capacity(k);
    for _ in 0..k {
        let best = left.clone().argmax(1);
        left = left.mask_fill(best.clone().equal(columns.clone()), f32::NEG_INFINITY);
        chosen.push(best);
    }
    Tensor::cat(chosen, 1)
}
