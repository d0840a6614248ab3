//! Reference implementation: page by page, with a running maximum and denominator of the softmax.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use super::page::BlockRows;
use super::{Expansion, Page, Past, Values};
use crate::attention::AttentionOptions;
use crate::latent::reference::by_head;
use crate::product::Times;
use crate::quantized::reference::to_eight_bits;
use crate::quantized::{BLOCK, Quantized};

/// Initial value of a maximum: finite, and below every score.
const LOWEST: f64 = -1e30;

/// See [`Ops::paged_attention`](crate::Ops::paged_attention). Memory grows with the page length, not with the past.
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
    let kv_heads = match past.values {
        Values::Expanded(_) => heads,
        _ => past.keys[0].dims()[1],
    };
    let (group, value_dim) = (heads / kv_heads, past.value_dim());
    let first_new = past.first_new();
    // queries of a key head are concatenated, token by token
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
        let of_page = |page: &Page<B>| page.numbers().narrow(0, 0, len).swap_dims(0, 1);
        let rows = of_page(&past.keys[page]);
        let [keys, values] = match past.values {
            Values::Pages(pages) => [rows, of_page(&pages[page])],
            Values::FirstOfKeys(dim) => [rows.clone(), rows.narrow(2, 0, dim)],
            Values::Expanded(expansion) => expanded(rows, expansion, heads),
        };
        let at = Tensor::<B, 1, Int>::arange(start as i64..(start + len) as i64, &device)
            .reshape([1, 1, len]);
        // distance from the query back to the key
        let distance = positions.clone() - at;
        let mut hidden = distance.clone().lower_elem(0);
        if let Some(window) = options.window {
            hidden = hidden.bool_or(distance.greater_equal_elem(window as i64));
        }
        let scores = query
            .clone()
            .times(keys.swap_dims(1, 2))
            .mul_scalar(options.scale)
            .mask_fill(
                hidden.expand([kv_heads, new * group, len]),
                f32::NEG_INFINITY,
            );

        let larger = largest.clone().max_pair(scores.clone().max_dim(2));
        let weights = (scores - larger.clone()).exp();
        let keep = (largest - larger.clone()).exp();
        sum = sum * keep.clone() + weights.clone().sum_dim(2);
        output = output * keep + weights.times(values);
        largest = larger;
    }
    (output / sum)
        .reshape([kv_heads, new, group, value_dim])
        .swap_dims(0, 1)
        .reshape([new, heads, value_dim])
        .cast(dtype)
}

/// Keys and values of every head, computed from rows `[1, len, rank + rope]`.
fn expanded<B: Backend>(
    rows: Tensor<B, 3>,
    expansion: &Expansion<B>,
    heads: usize,
) -> [Tensor<B, 3>; 2] {
    let weight = expansion.weight.clone().numbers().cast(DType::F32);
    let ([_, len, width], [rank, _]) = (rows.dims(), weight.dims());
    let folded = by_head(weight, heads);
    let [_, _, both] = folded.dims();
    let nope = both - expansion.value_dim;
    let latents = rows.clone().narrow(2, 0, rank).expand([heads, len, rank]);
    let rope = rows.narrow(2, rank, width - rank);
    let made = latents.times(folded);
    let keys = vec![
        made.clone().narrow(2, 0, nope),
        rope.expand([heads, len, width - rank]),
    ];
    [
        Tensor::cat(keys, 2),
        made.narrow(2, nope, expansion.value_dim),
    ]
}

/// See [`Ops::write_rows`](crate::Ops::write_rows).
pub fn write_rows<B: Backend>(page: Page<B>, at: usize, rows: Tensor<B, 3>) -> Page<B> {
    let [count, heads, dim] = rows.dims();
    match page {
        Page::Numbers(page) => {
            let rows = rows.cast(page.dtype());
            Page::Numbers(page.slice_assign([at..at + count, 0..heads, 0..dim], rows))
        }
        Page::Blocks(BlockRows { blocks, dim }) => {
            let device = rows.device();
            let rest = dim.next_multiple_of(BLOCK) - dim;
            let mut parts = vec![rows.cast(DType::F32)];
            if rest > 0 {
                parts.push(Tensor::zeros([count, heads, rest], (&device, DType::F32)));
            }
            let new = to_eight_bits(Tensor::cat(parts, 2), blocks.scales.dtype());
            let [_, _, words] = new.values.dims();
            let [_, _, scales] = new.scales.dims();
            let range = |width| [at..at + count, 0..heads, 0..width];
            let blocks = Quantized {
                values: blocks.values.slice_assign(range(words), new.values),
                scales: blocks.scales.slice_assign(range(scales), new.scales),
                ..blocks
            };
            Page::Blocks(BlockRows { blocks, dim })
        }
    }
}
