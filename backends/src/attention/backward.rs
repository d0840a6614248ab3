//! Forward pass that saves the logarithm of the softmax's denominator, and backward pass from it, in burn's
//! operations.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::reference::hidden_positions;
use super::{AttentionMask, AttentionOptions, Saved};
use crate::product::Times;

/// See [`Ops::causal_attention_saving`](crate::Ops::causal_attention_saving).
pub fn attention_saving<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: &AttentionMask<B>,
    options: AttentionOptions,
) -> Saved<B> {
    let dtype = query.dtype();
    let [batch, seq, heads, _] = query.dims();
    let scores = scores(&query, &key, mask, options);
    let largest = scores.clone().max_dim(3);
    let exponentials = (scores - largest.clone()).exp();
    let sum = exponentials.clone().sum_dim(3);
    let attended = (exponentials / sum.clone()).cast(dtype);
    Saved {
        output: by_head(attended.times(by_head(value.clone()))),
        log_sum_exp: (sum.log() + largest).reshape([batch, heads, seq]),
        mask: mask.clone(),
        query,
        key,
        value,
        options,
    }
}

/// See [`Ops::causal_attention_backward`](crate::Ops::causal_attention_backward).
pub fn attention_backward<B: Backend>(saved: Saved<B>, grad: Tensor<B, 4>) -> [Tensor<B, 4>; 3] {
    let Saved {
        query,
        key,
        value,
        mask,
        options,
        output,
        log_sum_exp,
    } = saved;
    let dtype = query.dtype();
    let [batch, heads, seq] = log_sum_exp.dims();

    let log_sum_exp = log_sum_exp.reshape([batch, heads, seq, 1]);
    let attended = (scores(&query, &key, &mask, options) - log_sum_exp).exp();
    let along = (grad.clone().cast(DType::F32) * output.cast(DType::F32)).sum_dim(3);
    let grad = by_head(grad);

    let value_grad = attended
        .clone()
        .cast(dtype)
        .swap_dims(2, 3)
        .times(grad.clone());
    let attended_grad = grad.times(by_head(value).swap_dims(2, 3)).cast(DType::F32);
    let score_grad = (attended * (attended_grad - by_head(along)))
        .mul_scalar(options.scale)
        .cast(dtype);
    let query_grad = score_grad.clone().times(by_head(key));
    let key_grad = score_grad.swap_dims(2, 3).times(by_head(query));
    [by_head(query_grad), by_head(key_grad), by_head(value_grad)]
}

/// Scaled scores in f32, minus infinity where hidden.
fn scores<B: Backend>(
    query: &Tensor<B, 4>,
    key: &Tensor<B, 4>,
    mask: &AttentionMask<B>,
    options: AttentionOptions,
) -> Tensor<B, 4> {
    let [_, seq, _, _] = query.dims();
    let scores = by_head(query.clone())
        .times(by_head(key.clone()).swap_dims(2, 3))
        .cast(DType::F32)
        .mul_scalar(options.scale);
    let hidden = hidden_positions(mask, options.window, seq, &scores.device());
    scores.mask_fill(hidden, f32::NEG_INFINITY)
}

/// Swaps the dimensions of positions and heads.
fn by_head<B: Backend>(tensor: Tensor<B, 4>) -> Tensor<B, 4> {
    tensor.swap_dims(1, 2)
}
