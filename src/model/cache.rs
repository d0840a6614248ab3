//! Caches of growing sequences, owned by the caller.
//!
//! Positions are stored in pages of a fixed length, allocated on demand. A full page is never written again, so
//! sequences with a common prefix share its pages.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use darkhorse_backends::paged::{Page, PageFormat};

use super::mixer::{Mixer, TokenMixer};
use super::routing::codons::Trail;

/// Memory of a tensor, in bytes.
pub(super) fn bytes<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}

/// Memory layout of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Number of positions per page.
    pub page_len: usize,
    /// Format of cached keys, values and latents of attention; absent: the type of the model's activations. Linear
    /// attention has a state instead of pages and ignores this.
    pub format: Option<PageFormat>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            page_len: 128,
            format: None,
        }
    }
}

/// Longest extension, in positions, that every mixer can take back.
pub const REVERSIBLE: usize = 16;

/// Cache of one mixer for one sequence.
pub trait Past: Clone + Send + std::fmt::Debug {
    /// Number of positions.
    fn len(&self) -> usize;

    /// Whether there are no positions.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shortest length, besides 0, that [`truncate`](Self::truncate) can return to. After an extension by at most
    /// [`REVERSIBLE`] positions, it is at most the length before that extension.
    fn earliest(&self) -> usize;

    /// Drops the positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor at least [`earliest`](Self::earliest).
    fn truncate(&mut self, len: usize);

    /// Memory held, in bytes. Shared pages count in every cache that holds them.
    fn memory_bytes(&self) -> usize;
}

/// One sequence that a pass extends: its cache and its number of new rows.
#[derive(Debug)]
pub struct Extension<'a, C> {
    /// Cache of the earlier positions.
    pub past: &'a mut C,
    /// Number of new positions.
    pub new: usize,
}

impl<'a, C> Extension<'a, C> {
    /// Extends `past` by `new` positions.
    pub fn new(past: &'a mut C, new: usize) -> Self {
        Self { past, new }
    }
}

/// Applies a single-sequence mixer to each sequence of a concatenated batch, `[1, tokens, hidden_size]`. `extend`
/// gets the sequence's rows, their range in the batch, and its cache.
pub fn one_by_one<B: Backend, C>(
    hidden: Tensor<B, 3>,
    sequences: &mut [Extension<'_, C>],
    mut extend: impl FnMut(Tensor<B, 3>, Range<usize>, &mut C) -> Tensor<B, 3>,
) -> Tensor<B, 3> {
    by_sequence(sequences, |range, past| {
        let rows = hidden.clone().narrow(1, range.start, range.len());
        extend(rows, range, past)
    })
}

/// Applies `extend` to the row range of each sequence and concatenates the outputs, `[1, rows, ..]` each.
pub(super) fn by_sequence<B: Backend, C, const D: usize>(
    sequences: &mut [Extension<'_, C>],
    mut extend: impl FnMut(Range<usize>, &mut C) -> Tensor<B, D>,
) -> Tensor<B, D> {
    let mut at = 0;
    let outputs = sequences.iter_mut().map(|sequence| {
        let range = at..at + sequence.new;
        at = range.end;
        extend(range, sequence.past)
    });
    let mut outputs: Vec<_> = outputs.collect();
    match outputs.len() {
        1 => outputs.remove(0),
        _ => Tensor::cat(outputs, 1),
    }
}

/// Cache of one sequence: one [`Past`] per layer, and the codon history if the router uses codons.
#[derive(Debug, Clone)]
pub struct Cache<B: Ops, M: TokenMixer<B> = Mixer<B>> {
    pub(super) layers: Vec<M::Cache>,
    pub(super) trail: Option<Trail<B>>,
    pub(super) len: usize,
}

impl<B: Ops, M: TokenMixer<B>> Cache<B, M> {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache holds no positions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shortest length, besides 0, that [`truncate`](Self::truncate) can return to.
    pub fn earliest(&self) -> usize {
        let layers = self.layers.iter().map(Past::earliest);
        let codons = self.trail.as_ref().map(Trail::earliest);
        layers.chain(codons).max().unwrap_or(0)
    }

    /// Drops the positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor at least [`earliest`](Self::earliest).
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.layers.iter_mut().for_each(|layer| layer.truncate(len));
            if let Some(trail) = &mut self.trail {
                trail.truncate(len);
            }
            self.len = len;
        }
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Past::memory_bytes).sum();
        layers + self.trail.as_ref().map_or(0, Trail::memory_bytes)
    }

    /// Counts `new` positions that every layer has appended.
    pub(super) fn advance(&mut self, new: usize) {
        self.len += new;
        if let Some(trail) = &mut self.trail {
            trail.advance(new);
        }
    }
}

/// Paged rows, `[heads, dim]` per position.
#[derive(Debug, Clone)]
pub struct Pages<B: Backend> {
    pages: Vec<Page<B>>,
    config: CacheConfig,
    len: usize,
    /// Number of leading positions whose pages were freed.
    dropped: usize,
}

impl<B: Backend> Pages<B> {
    /// Creates an empty store without pages.
    pub fn new(config: CacheConfig) -> Self {
        Self {
            pages: Vec::new(),
            config,
            len: 0,
            dropped: 0,
        }
    }

    /// Number of positions, dropped ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The remaining pages, in the order of positions.
    pub fn pages(&self) -> &[Page<B>] {
        &self.pages
    }

    /// Number of positions in [`pages`](Self::pages).
    pub fn held(&self) -> usize {
        self.len - self.dropped
    }

    /// Shortest length, besides 0, that [`truncate`](Self::truncate) can return to.
    pub fn earliest(&self) -> usize {
        self.dropped
    }

    /// Drops the positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is not 0 and pages of positions before it were freed.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if len == 0 {
            *self = Self::new(self.config);
            return;
        }
        assert!(
            len >= self.dropped,
            "the window has moved past position {len}"
        );
        self.len = len;
        self.pages
            .truncate(self.held().div_ceil(self.config.page_len));
    }

    /// Frees the pages that hold none of the last `kept` positions.
    pub fn keep_last(&mut self, kept: usize) {
        let pages = self.held().saturating_sub(kept) / self.config.page_len;
        self.pages.drain(..pages);
        self.dropped += pages * self.config.page_len;
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.pages.iter().map(Page::memory_bytes).sum()
    }
}

impl<B: Ops> Pages<B> {
    /// Appends positions.
    ///
    /// # Shapes
    ///
    /// - rows: `[new, heads, dim]`
    pub fn append(&mut self, rows: Tensor<B, 3>) {
        let [new, heads, dim] = rows.dims();
        let page_len = self.config.page_len;
        let mut written = 0;
        while written < new {
            let at = self.held() % page_len;
            let page = match at {
                0 => self.empty_page([page_len, heads, dim], &rows),
                _ => self.pages.pop().expect("it holds the last position"),
            };
            let count = (page_len - at).min(new - written);
            let part = rows.clone().narrow(0, written, count);
            self.pages.push(B::write_rows(page, at, part));
            self.len += count;
            written += count;
        }
    }

    fn empty_page(&self, shape: [usize; 3], like: &Tensor<B, 3>) -> Page<B> {
        let format = self.config.format;
        let format = format.unwrap_or(PageFormat::Numbers(like.dtype()));
        Page::zeros(shape, format, &like.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, TensorData};
    use darkhorse_backends::select::Selected;

    fn rows(range: std::ops::Range<usize>) -> Tensor<Selected, 3> {
        let values: Vec<f32> = range
            .clone()
            .flat_map(|i| [i as f32, -(i as f32)])
            .collect();
        Tensor::from_data(
            TensorData::new(values, [range.len(), 1, 2]),
            &Default::default(),
        )
    }

    fn held(pages: &Pages<Selected>) -> Vec<f32> {
        let all = Tensor::cat(pages.pages().iter().map(Page::numbers).collect(), 0);
        let all = all.narrow(0, 0, pages.held());
        all.narrow(2, 0, 1).into_data().iter::<f32>().collect()
    }

    fn counted(range: std::ops::Range<usize>) -> Vec<f32> {
        range.map(|i| i as f32).collect()
    }

    fn of_three() -> Pages<Selected> {
        Pages::new(CacheConfig {
            page_len: 3,
            format: None,
        })
    }

    #[test]
    fn positions_come_back_in_order_however_they_were_added() {
        let mut pages = of_three();
        for range in [0..1, 1..2, 2..9, 9..9, 9..10] {
            pages.append(rows(range));
        }
        assert_eq!(held(&pages), counted(0..10));
        assert_eq!(pages.pages().len(), 4);
        assert_eq!(pages.memory_bytes(), 4 * 3 * 2 * 4);
    }

    #[test]
    fn forgotten_positions_are_written_anew_and_never_in_a_copy() {
        let mut pages = of_three();
        pages.append(rows(0..8));
        let copy = pages.clone();
        pages.truncate(4);
        pages.append(rows(20..25));
        assert_eq!(held(&pages), [counted(0..4), counted(20..25)].concat());
        assert_eq!(held(&copy), counted(0..8));
    }

    #[test]
    fn pages_behind_the_window_are_given_back() {
        let mut pages = of_three();
        pages.append(rows(0..11));
        pages.keep_last(4);
        assert_eq!(held(&pages), counted(6..11));
        assert_eq!(pages.len(), 11);
        pages.truncate(7);
        pages.append(rows(7..8));
        assert_eq!(held(&pages), counted(6..8));
    }

    #[test]
    fn a_page_is_held_as_configured() {
        let formats = [
            (PageFormat::Numbers(DType::F16), 2 * 2),
            (PageFormat::EightBits, 32 + 2),
        ];
        for (format, row_bytes) in formats {
            let mut pages = Pages::<Selected>::new(CacheConfig {
                page_len: 4,
                format: Some(format),
            });
            pages.append(rows(0..3));
            let close = |(found, expected): (f32, f32)| (found - expected).abs() < 1e-3;
            assert!(held(&pages).into_iter().zip(counted(0..3)).all(close));
            assert_eq!(pages.memory_bytes(), 4 * row_bytes);
        }
    }
}
