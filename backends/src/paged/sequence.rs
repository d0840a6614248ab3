//! A past in memory: which positions a token sees, and which pages hold them.

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::{Past, Values};
use crate::attention::AttentionOptions;
use crate::flex::matrix::MatRef;
use crate::flex::product::Element;
use crate::flex::rows::View;

/// A sequence in memory.
pub(super) struct Sequence {
    pub(super) keys: Vec<View<3>>,
    /// Absent: the first columns of the keys.
    pub(super) values: Option<Vec<View<3>>>,
    pub(super) value_dim: usize,
    pub(super) kv_heads: usize,
    /// First position and positions in use of every page.
    pages: Vec<Range<usize>>,
    first_new: usize,
    window: usize,
}

impl Sequence {
    pub(super) fn new(past: &Past<'_, Flex>, options: AttentionOptions) -> Self {
        let views = |pages: &[Tensor<Flex, 3>]| -> Vec<_> {
            pages.iter().map(|page| View::rows(page.clone())).collect()
        };
        Self {
            keys: views(past.keys),
            values: match past.values {
                Values::Pages(pages) => Some(views(pages)),
                Values::FirstOfKeys(_) => None,
            },
            value_dim: past.value_dim(),
            kv_heads: past.keys[0].dims()[1],
            pages: past
                .pages()
                .map(|(_, first, len)| first..first + len)
                .collect(),
            first_new: past.first_new(),
            window: options.window.unwrap_or(usize::MAX),
        }
    }

    /// Positions that a new token sees.
    pub(super) fn seen(&self, token: usize) -> Range<usize> {
        let end = self.first_new + token + 1;
        end.saturating_sub(self.window)..end
    }

    /// Pages that hold `positions`: their number, the positions in them, and these counted from the first.
    pub(super) fn segments(
        &self,
        positions: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(move |(page, held)| {
            let (start, end) = (held.start.max(positions.start), held.end.min(positions.end));
            let rows = || start - held.start..end - held.start;
            (start < end).then(|| (page, rows(), start - positions.start))
        })
    }
}

/// Rows of one page for one key head.
pub(super) fn page_rows<E: Element>(
    page: &View<3>,
    head: usize,
    rows: Range<usize>,
    dim: usize,
) -> MatRef<'_, E> {
    let start = rows.start * page.stride(0) + head * page.stride(1);
    MatRef::strided(
        &page.data_of()[start..],
        [rows.len(), dim],
        [page.stride(0), 1],
    )
}
