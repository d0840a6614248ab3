//! Paged attention is not differentiable: it runs on the inner backend.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::Tensor;

use crate::Ops;
use crate::attention::AttentionOptions;
use crate::paged::{BlockRows, Expansion, Page, Past, Values};
use crate::quantized::Quantized;
use crate::weight::Weight;

/// See [`Ops::paged_attention`].
pub(super) fn paged_attention<B: Ops, C: CheckpointStrategy>(
    query: Tensor<Autodiff<B, C>, 3>,
    pasts: &[Past<'_, Autodiff<B, C>>],
    options: AttentionOptions,
) -> Tensor<Autodiff<B, C>, 3> {
    /// The owned parts of a past on the inner backend.
    enum Made<B: Ops> {
        Pages(Vec<Page<B>>),
        FirstOfKeys(usize),
        Expanded(Expansion<B>),
    }
    let inner = |pages: &[Page<Autodiff<B, C>>]| -> Vec<_> {
        pages.iter().cloned().map(page_below).collect()
    };
    let pages: Vec<_> = pasts
        .iter()
        .map(|past| {
            let values = match past.values {
                Values::Pages(values) => Made::Pages(inner(values)),
                Values::FirstOfKeys(dim) => Made::FirstOfKeys(dim),
                Values::Expanded(expansion) => Made::Expanded(Expansion {
                    weight: match expansion.weight.clone() {
                        Weight::Dense(weight) => Weight::Dense(weight.inner()),
                        Weight::Blocks(weight) => Weight::Blocks(blocks_below(weight)),
                    },
                    value_dim: expansion.value_dim,
                }),
            };
            (inner(past.keys), values)
        })
        .collect();
    let pasts: Vec<_> = pasts
        .iter()
        .zip(&pages)
        .map(|(past, (keys, values))| Past {
            keys,
            values: match values {
                Made::Pages(values) => Values::Pages(values),
                Made::FirstOfKeys(dim) => Values::FirstOfKeys(*dim),
                Made::Expanded(expansion) => Values::Expanded(expansion),
            },
            len: past.len,
            new: past.new,
        })
        .collect();
    Tensor::from_inner(B::paged_attention(query.inner(), &pasts, options))
}

/// See [`Ops::write_rows`].
pub(super) fn write_rows<B: Ops, C: CheckpointStrategy>(
    page: Page<Autodiff<B, C>>,
    at: usize,
    rows: Tensor<Autodiff<B, C>, 3>,
) -> Page<Autodiff<B, C>> {
    match B::write_rows(page_below(page), at, rows.inner()) {
        Page::Numbers(rows) => Page::Numbers(Tensor::from_inner(rows)),
        Page::Blocks(BlockRows { blocks, dim }) => Page::Blocks(BlockRows {
            blocks: Quantized {
                values: Tensor::from_inner(blocks.values),
                scales: Tensor::from_inner(blocks.scales),
                bits: blocks.bits,
            },
            dim,
        }),
    }
}

fn page_below<B: Ops, C: CheckpointStrategy>(page: Page<Autodiff<B, C>>) -> Page<B> {
    match page {
        Page::Numbers(rows) => Page::Numbers(rows.inner()),
        Page::Blocks(BlockRows { blocks, dim }) => Page::Blocks(BlockRows {
            blocks: blocks_below(blocks),
            dim,
        }),
    }
}

fn blocks_below<B: Ops, C: CheckpointStrategy, const D: usize>(
    blocks: Quantized<Autodiff<B, C>, D>,
) -> Quantized<B, D> {
    Quantized {
        values: blocks.values.inner(),
        scales: blocks.scales.inner(),
        bits: blocks.bits,
    }
}
