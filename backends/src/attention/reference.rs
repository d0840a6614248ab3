//! Reference implementation.

use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

use super::{AttentionMask, AttentionOptions};
use crate::product::Times;

/// See [`Ops::causal_attention`](crate::Ops::causal_attention). The softmax runs in f32.
pub fn attention<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: &AttentionMask<B>,
    options: AttentionOptions,
) -> Tensor<B, 4> {
    let dtype = query.dtype();
    let [_, seq, _, _] = query.dims();
    let by_head = |tensor: Tensor<B, 4>| tensor.swap_dims(1, 2);

    let scores = by_head(query)
        .times(by_head(key).swap_dims(2, 3))
        .cast(DType::F32)
        .mul_scalar(options.scale);
    let hidden = hidden_positions(mask, options.window, seq, &scores.device());
    let attended = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    by_head(attended.cast(dtype).times(by_head(value)))
}

/// True where a query (dimension 2) must not see a key (dimension 3), `[batch or 1, 1, seq, seq]`.
pub(crate) fn hidden_positions<B: Backend>(
    mask: &AttentionMask<B>,
    window: Option<usize>,
    seq: usize,
    device: &B::Device,
) -> Tensor<B, 4, Bool> {
    let future = Tensor::<B, 2, Bool>::tril_mask([seq, seq], 0, device);
    let out_of_reach = match window {
        Some(window) if window < seq => {
            let left_behind = Tensor::triu_mask([seq, seq], 1 - window as i64, device);
            future.bool_or(left_behind)
        }
        _ => future,
    }
    .unsqueeze::<4>();
    match mask {
        AttentionMask::Causal => out_of_reach,
        AttentionMask::Documents(documents) => {
            let [batch, seq] = documents.dims();
            let queries = documents.clone().reshape([batch, 1, seq, 1]);
            let keys = documents.clone().reshape([batch, 1, 1, seq]);
            queries.equal(keys).bool_not().bool_or(out_of_reach)
        }
    }
}
