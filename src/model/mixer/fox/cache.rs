//! Cache of a [`Fox`](super::Fox) layer.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::{Ops, forgetting};

use super::Seen;
use crate::model::cache::{CacheConfig, Pages, Past, REVERSIBLE, bytes};

/// Keys, values and cumulative forget gates of every position, with the last inputs of the convolutions. The rows of
/// a batch are stored as additional heads.
#[derive(Debug, Clone)]
pub struct FoxCache<B: Backend> {
    keys: Pages<B>,
    values: Pages<B>,
    /// Cumulative log of the forget gates from the first position on.
    kept: Pages<B>,
    /// Last cumulative gate, `[batch, 1, heads]`; absent before the first position and after a truncation.
    sum: Option<Tensor<B, 3>>,
    /// Last inputs of the key and value convolutions, padded with zeros before the first position,
    /// `[batch, rows, _]`.
    raw: Option<[Tensor<B, 3>; 2]>,
}

/// Reorders `[batch, seq, heads, dim]` to `[seq, batch * heads, dim]`.
pub(super) fn by_position<B: Backend>(heads: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, seq, count, dim] = heads.dims();
    let heads = match batch {
        1 => heads,
        _ => heads.swap_dims(0, 1),
    };
    heads.reshape([seq, batch * count, dim])
}

impl<B: Backend> FoxCache<B> {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self {
            keys: Pages::new(config),
            values: Pages::new(config),
            kept: Pages::new(CacheConfig {
                format: Some(PageFormat::Numbers(DType::F32)),
                ..config
            }),
            sum: None,
            raw: None,
        }
    }

    /// The last inputs that convolutions of `taps` need; `None` before the first position.
    pub(super) fn tails(&self, taps: usize) -> Option<[Tensor<B, 3>; 2]> {
        let raw = self.raw.clone()?;
        Some(raw.map(|raw| {
            let [_, rows, _] = raw.dims();
            raw.narrow(1, rows + 1 - taps, taps - 1)
        }))
    }

    /// The cache as an operand of the backend.
    pub(super) fn seen(&self) -> forgetting::Seen<'_, B> {
        forgetting::Seen {
            keys: self.keys.pages(),
            values: self.values.pages(),
            kept: self.kept.pages(),
            len: self.keys.len(),
        }
    }

    /// Last cumulative gate of `batch` rows.
    fn last_sum(&self, batch: usize) -> Option<Tensor<B, 3>> {
        if self.kept.is_empty() {
            return None;
        }
        let of_pages = || {
            let last = self
                .kept
                .pages()
                .last()
                .expect("it holds the last position");
            let [page_len, all, _] = last.dims();
            let row = (self.kept.len() - 1) % page_len;
            let last = last.numbers().narrow(0, row, 1);
            last.reshape([batch, 1, all / batch])
        };
        Some(self.sum.clone().unwrap_or_else(of_pages))
    }
}

impl<B: Ops> FoxCache<B> {
    /// Appends positions. `raw` are the inputs of their convolutions, preceded by `taps - 1` earlier ones.
    pub(super) fn append(&mut self, new: Seen<B>, raw: [Tensor<B, 3>; 2], taps: usize) {
        let [batch, seq, _] = new.kept.dims();
        let kept = match self.last_sum(batch) {
            Some(before) => new.kept + before,
            None => new.kept,
        };
        self.sum = Some(kept.clone().narrow(1, seq - 1, 1));
        self.keys.append(by_position(new.key));
        self.values.append(by_position(new.value));
        self.kept.append(by_position(kept.unsqueeze_dim::<4>(3)));
        let old = self.raw.take();
        let mut old = old.into_iter().flatten();
        // keeps only the inputs that a truncation can need
        let most = REVERSIBLE + taps - 1;
        self.raw = Some(raw.map(|new| {
            let [_, rows, _] = new.dims();
            let all = match old.next() {
                Some(old) => Tensor::cat(vec![old, new.narrow(1, taps - 1, rows + 1 - taps)], 1),
                None => new,
            };
            let [_, rows, _] = all.dims();
            let kept = rows.min(most);
            all.narrow(1, rows - kept, kept)
        }));
    }
}

impl<B: Backend> Past for FoxCache<B> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn earliest(&self) -> usize {
        self.len().saturating_sub(REVERSIBLE)
    }

    /// Drops all positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor one of the last [`REVERSIBLE`] positions, whose convolution inputs are kept.
    fn truncate(&mut self, len: usize) {
        let (now, earliest) = (self.len(), self.earliest());
        if len >= now {
            return;
        }
        assert!(
            len == 0 || len >= earliest,
            "a past of {now} positions cannot go back to {len}, only to {earliest} or to 0"
        );
        for pages in [&mut self.keys, &mut self.values, &mut self.kept] {
            pages.truncate(len);
        }
        self.sum = None;
        let raw = self.raw.take().filter(|_| len > 0);
        self.raw = raw.map(|raw| {
            raw.map(|raw| {
                let [_, rows, _] = raw.dims();
                raw.narrow(1, 0, rows + len - now)
            })
        });
    }

    fn memory_bytes(&self) -> usize {
        let pages = [&self.keys, &self.values, &self.kept];
        let pages: usize = pages.into_iter().map(Pages::memory_bytes).sum();
        let raw: usize = self.raw.iter().flatten().map(bytes).sum();
        pages + raw + self.sum.as_ref().map_or(0, bytes)
    }
}
