//! A paged cache in memory: the positions that a token sees, the pages that hold them, and their keys and values in
//! f32.

use std::ops::Range;

use burn_flex::Flex;

use super::rows::Rows;
use super::{Past, Values};
use crate::attention::AttentionOptions;
use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::Buffers;
use crate::latent::flex::Up;
use crate::quantized::BLOCK;

/// Cache of one sequence in memory.
pub(super) struct Sequence {
    keys: Vec<Rows>,
    values: ValuesIn,
    pub(super) value_dim: usize,
    /// Number of key heads; with expanded keys, of all heads.
    pub(super) kv_heads: usize,
    /// Range of positions in use of every page.
    pages: Vec<Range<usize>>,
    first_new: usize,
    window: usize,
}

/// Location of the values.
enum ValuesIn {
    Pages(Vec<Rows>),
    FirstOfKeys,
    Expanded(Up),
}

/// Keys and values of a chunk of positions that are not stored as f32.
#[derive(Default)]
pub(super) struct Loaded {
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Rows from which keys and values are expanded.
    rows: Vec<f32>,
    products: Buffers,
}

/// Some rows, with their offset in the requested range.
pub(super) type Segment<'a> = (usize, MatRef<'a>);

impl Sequence {
    /// `None` if the kernels do not support the format of a page.
    pub(super) fn new(
        past: &Past<'_, Flex>,
        heads: usize,
        options: AttentionOptions,
    ) -> Option<Self> {
        let keys = past.keys.iter().map(Rows::of).collect::<Option<Vec<_>>>()?;
        let [kv_heads, _] = keys.first()?.width();
        let (values, kv_heads) = match past.values {
            Values::Pages(pages) => {
                let pages = pages.iter().map(Rows::of).collect::<Option<_>>()?;
                (ValuesIn::Pages(pages), kv_heads)
            }
            Values::FirstOfKeys(_) => (ValuesIn::FirstOfKeys, kv_heads),
            Values::Expanded(expansion) => {
                let up = Up::new(&expansion.weight, heads, expansion.value_dim)?;
                (ValuesIn::Expanded(up), heads)
            }
        };
        Some(Self {
            keys,
            values,
            value_dim: past.value_dim(),
            kv_heads,
            pages: past
                .pages()
                .map(|(_, first, len)| first..first + len)
                .collect(),
            first_new: past.first_new(),
            window: options.window.unwrap_or(usize::MAX),
        })
    }

    /// Positions that a new token sees.
    pub(super) fn seen(&self, token: usize) -> Range<usize> {
        let end = self.first_new + token + 1;
        end.saturating_sub(self.window)..end
    }

    /// Whether every head has its own keys, computed from the rows in the pages.
    pub(super) fn expands(&self) -> bool {
        matches!(self.values, ValuesIn::Expanded(_))
    }

    /// Loads the keys and values of a head at `positions`, unless they can be read in place.
    pub(super) fn load(&self, head: usize, positions: Range<usize>, loaded: &mut Loaded) {
        let len = positions.len();
        match &self.values {
            ValuesIn::Expanded(up) => self.expand(up, head, positions, loaded),
            values => {
                if self.is_widened(&self.keys, &positions) {
                    self.widen(&self.keys, head, positions.clone(), &mut loaded.keys);
                }
                if let ValuesIn::Pages(pages) = values
                    && self.is_widened(pages, &positions)
                {
                    self.widen(pages, head, positions, &mut loaded.values);
                }
            }
        }
        debug_assert!(len > 0);
    }

    /// Keys of the last [`load`](Self::load).
    pub(super) fn keys<'a>(
        &'a self,
        head: usize,
        positions: Range<usize>,
        dim: usize,
        loaded: &'a Loaded,
    ) -> Vec<Segment<'a>> {
        if self.expands() {
            vec![(0, MatRef::new(&loaded.keys, [positions.len(), dim]))]
        } else {
            self.rows(&self.keys, head, positions, dim, &loaded.keys)
        }
    }

    /// Values of the last [`load`](Self::load).
    pub(super) fn values<'a>(
        &'a self,
        head: usize,
        positions: Range<usize>,
        loaded: &'a Loaded,
    ) -> Vec<Segment<'a>> {
        let dim = self.value_dim;
        match &self.values {
            ValuesIn::Pages(pages) => self.rows(pages, head, positions, dim, &loaded.values),
            ValuesIn::FirstOfKeys => self.rows(&self.keys, head, positions, dim, &loaded.keys),
            ValuesIn::Expanded(_) => {
                vec![(0, MatRef::new(&loaded.values, [positions.len(), dim]))]
            }
        }
    }

    /// Pages that hold `positions`: index, rows within the page, and offset in `positions`.
    fn segments(
        &self,
        positions: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
        let first = self
            .pages
            .partition_point(|held| held.end <= positions.start);
        let pages = self.pages.iter().enumerate().skip(first);
        pages.map_while(move |(page, held)| {
            let (start, end) = (held.start.max(positions.start), held.end.min(positions.end));
            let rows = || start - held.start..end - held.start;
            (start < end).then(|| (page, rows(), start - positions.start))
        })
    }

    /// Whether one of the pages that hold `positions` is not stored as f32.
    fn is_widened(&self, pages: &[Rows], positions: &Range<usize>) -> bool {
        self.segments(positions.clone())
            .any(|(page, ..)| !matches!(pages[page], Rows::F32(_)))
    }

    fn rows<'a>(
        &'a self,
        pages: &'a [Rows],
        head: usize,
        positions: Range<usize>,
        dim: usize,
        widened: &'a [f32],
    ) -> Vec<Segment<'a>> {
        if self.is_widened(pages, &positions) {
            let [_, width] = pages[0].width();
            let stride = width.next_multiple_of(BLOCK);
            let rows = MatRef::strided(widened, [positions.len(), dim], [stride, 1]);
            return vec![(0, rows)];
        }
        self.segments(positions)
            .filter_map(|(page, held, at)| Some((at, pages[page].in_place(head, held, dim)?)))
            .collect()
    }

    /// Converts the rows of all `positions` to f32, each padded to whole blocks.
    fn widen(&self, pages: &[Rows], head: usize, positions: Range<usize>, out: &mut Vec<f32>) {
        let [_, width] = pages[0].width();
        let stride = width.next_multiple_of(BLOCK);
        out.resize(positions.len() * stride, 0.0);
        for (page, held, at) in self.segments(positions) {
            pages[page].widen(head, held, stride, &mut out[at * stride..]);
        }
    }

    fn expand(&self, up: &Up, head: usize, positions: Range<usize>, loaded: &mut Loaded) {
        let Loaded {
            keys,
            values,
            rows,
            products,
        } = loaded;
        let len = positions.len();
        self.widen(&self.keys, 0, positions, rows);
        let ([_, width], [rank, nope]) = (self.keys[0].width(), [up.rank(), up.nope()]);
        let stride = width.next_multiple_of(BLOCK);
        let rows = MatRef::strided(rows, [len, width], [stride, 1]);
        let (latents, rope) = (rows.columns(0..rank), rows.columns(rank..width));
        let dim = nope + width - rank;
        keys.clear();
        keys.resize(len * dim, 0.0);
        values.clear();
        values.resize(len * self.value_dim, 0.0);
        let mut keys = MatMut::new(keys, [len, dim]);
        for row in 0..len {
            keys.row(row)[nope..].copy_from_slice(rope.row(row));
        }
        up.add_keys(head, latents, &mut keys.columns(0..nope), products);
        let mut values = MatMut::new(values, [len, self.value_dim]);
        up.add_values(head, latents, &mut values, products);
    }
}
