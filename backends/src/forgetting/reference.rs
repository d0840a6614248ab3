//! Reference implementation.

use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::Forgetting;
use crate::attention::AttentionMask;
use crate::attention::reference::hidden_positions;
use crate::product::Times;

/// See [`Ops::forgetting_attention`](crate::Ops::forgetting_attention). The softmax runs in f32.
pub fn forgetting_attention<B: Backend>(
    input: Forgetting<B>,
    mask: &AttentionMask<B>,
    scale: f64,
) -> Tensor<B, 4> {
    let [batch, new, heads, dim] = input.query.dims();
    let [_, seq, key_heads, _] = input.key.dims();
    let dtype = input.query.dtype();
    let key = input
        .key
        .unsqueeze_dim::<5>(3)
        .expand([batch, seq, key_heads, heads / key_heads, dim])
        .reshape([batch, seq, heads, dim]);
    let by_head = |tensor: Tensor<B, 4>| tensor.swap_dims(1, 2);
    // The dimension is added before others are swapped, since burn 0.21 adds it to a view with wrong strides on
    // GPUs. The negations give each operand its own memory, since libtorch may write a difference over its operands.
    let kept = input.kept.cast(DType::F32).unsqueeze_dim::<4>(3);
    let own = kept.clone().narrow(1, seq - new, new).neg();
    let bias = kept.neg().permute([0, 2, 3, 1]) - own.permute([0, 2, 1, 3]);
    let scores = by_head(input.query)
        .times(by_head(key).swap_dims(2, 3))
        .cast(DType::F32)
        .mul_scalar(scale)
        + bias;
    let hidden = hidden_positions(mask, None, seq, &scores.device()).narrow(2, seq - new, new);
    let attended = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    by_head(attended.cast(dtype).times(by_head(input.value)))
}
