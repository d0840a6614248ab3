//! The definition: page by page, with the softmax's maximum and denominator so far.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use super::{Past, Values};
use crate::attention::AttentionOptions;

/// Below every score, and finite: the maximum of no score.
const LOWEST: f64 = -1e30;

/// See [`Ops::paged_attention`](crate::Ops::paged_attention). Memory grows with a page, not with a past.
pub fn paged_attention<B: Backend>(
    query: Tensor<B, 3>,
    pasts: &[Past<'_, B>],
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let mut row = 0;
    let outputs = pasts.iter().filter(|past| past.new > 0).map(|past| {
        let own = query.clone().narrow(0, row, past.new);
        row += past.new;
        one_sequence(own, past, options)
    });
    Tensor::cat(outputs.collect(), 0)
}

fn one_sequence<B: Backend>(
    query: Tensor<B, 3>,
    past: &Past<'_, B>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let (dtype, device) = (query.dtype(), query.device());
    let [new, heads, dim] = query.dims();
    let kv_heads = past.keys[0].dims()[1];
    let (group, value_dim) = (heads / kv_heads, past.value_dim());
    let first_new = past.first_new();
    // a key head's queries one after the other, token by token
    let query = query
        .cast(DType::F32)
        .reshape([new, kv_heads, group, dim])
        .swap_dims(0, 1)
        .reshape([kv_heads, new * group, dim]);
    let positions = Tensor::<B, 1, Int>::arange(0..(new * group) as i64, &device)
        .div_scalar(group as i64)
        .add_scalar(first_new as i64)
        .reshape([1, new * group, 1]);

    let rows = [kv_heads, new * group, 1];
    let mut largest = Tensor::<B, 3>::full(rows, LOWEST, (&device, DType::F32));
    let mut sum = Tensor::<B, 3>::zeros(rows, (&device, DType::F32));
    let mut output =
        Tensor::<B, 3>::zeros([kv_heads, new * group, value_dim], (&device, DType::F32));
    let window = options.window.unwrap_or(usize::MAX);
    for (page, start, len) in past.pages() {
        if start + len <= (first_new + 1).saturating_sub(window) {
            continue;
        }
        let by_head = |page: &Tensor<B, 3>| {
            let page = page.clone().narrow(0, 0, len);
            page.cast(DType::F32).swap_dims(0, 1)
        };
        let keys = by_head(&past.keys[page]);
        let values = match past.values {
            Values::Pages(pages) => by_head(&pages[page]),
            Values::FirstOfKeys(dim) => keys.clone().narrow(2, 0, dim),
        };
        let at = Tensor::<B, 1, Int>::arange(start as i64..(start + len) as i64, &device)
            .reshape([1, 1, len]);
        // how far back a key lies
        let distance = positions.clone() - at;
        let mut hidden = distance.clone().lower_elem(0);
        if let Some(window) = options.window {
            hidden = hidden.bool_or(distance.greater_equal_elem(window as i64));
        }
        let scores = query
            .clone()
            .matmul(keys.swap_dims(1, 2))
            .mul_scalar(options.scale)
            .mask_fill(
                hidden.expand([kv_heads, new * group, len]),
                f32::NEG_INFINITY,
            );

        let larger = largest.clone().max_pair(scores.clone().max_dim(2));
        let weights = (scores - larger.clone()).exp();
        let keep = (largest - larger.clone()).exp();
        sum = sum * keep.clone() + weights.clone().sum_dim(2);
        output = output * keep + weights.matmul(values);
        largest = larger;
    }
    (output / sum)
        .reshape([kv_heads, new, group, value_dim])
        .swap_dims(0, 1)
        .reshape([new, heads, value_dim])
        .cast(dtype)
}

/// See [`Ops::write_rows`](crate::Ops::write_rows).
pub fn write_rows<B: Backend>(page: Tensor<B, 3>, at: usize, rows: Tensor<B, 3>) -> Tensor<B, 3> {
    let [count, heads, dim] = rows.dims();
    let rows = rows.cast(page.dtype());
    page.slice_assign([at..at + count, 0..heads, 0..dim], rows)
}
