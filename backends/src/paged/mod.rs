//! Attention of the newest tokens of several sequences to their paged caches.

#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "flex")]
pub(crate) mod flex_write;
#[cfg(feature = "flex")]
pub(crate) mod merge;
mod page;
pub mod reference;
#[cfg(feature = "flex")]
pub(crate) mod rows;
#[cfg(feature = "flex")]
mod sequence;

use burn::tensor::backend::Backend;

pub use self::page::{BlockRows, Page, PageFormat};
use crate::weight::Weight;

/// Paged cache of one sequence, its newest tokens included.
#[derive(Debug, Clone)]
pub struct Past<'a, B: Backend> {
    /// Pages of keys, in order, `[page_len, kv_heads, dim]` each; pages may differ in length.
    pub keys: &'a [Page<B>],
    /// Location of the values.
    pub values: Values<'a, B>,
    /// Number of positions in use, the newest tokens included, counted from the first page.
    pub len: usize,
    /// Number of the query's rows that are this sequence's newest tokens.
    pub new: usize,
}

/// Location of the values of a [`Past`].
#[derive(Debug, Clone)]
pub enum Values<'a, B: Backend> {
    /// In separate pages, `[page_len, kv_heads, value_dim]`, each as long as that of the keys.
    Pages(&'a [Page<B>]),
    /// The first columns of the keys, given by their number: the latent of multi-head latent attention.
    FirstOfKeys(usize),
    /// Keys and values of all heads are computed from the rows in the pages.
    Expanded(&'a Expansion<B>),
}

/// Expansion of a row `[c, r]`, where `c` is the latent of width `rank` and `r` the rotary key of width `rope`: the
/// key of head `h` is `[c U_h, r]` and its value `c V_h`.
#[derive(Debug, Clone)]
pub struct Expansion<B: Backend> {
    /// `U_h`, then `V_h`, for every head, `[rank, heads * (nope + value_dim)]`.
    pub weight: Weight<B, 2>,
    /// Width of a value.
    pub value_dim: usize,
}

impl<B: Backend> Past<'_, B> {
    /// Width of a value.
    ///
    /// # Panics
    ///
    /// If there are no pages.
    pub fn value_dim(&self) -> usize {
        match self.values {
            Values::Pages(pages) => pages[0].dims()[2],
            Values::FirstOfKeys(dim) => dim,
            Values::Expanded(expansion) => expansion.value_dim,
        }
    }

    /// Pages in use: index, first position, and number of positions in use.
    fn pages(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut start = 0;
        self.keys.iter().enumerate().map_while(move |(page, keys)| {
            let first = start;
            let [len, ..] = keys.dims();
            start += len;
            (first < self.len).then(|| (page, first, len.min(self.len - first)))
        })
    }

    /// Position of the first of the newest tokens.
    fn first_new(&self) -> usize {
        assert!(
            self.new <= self.len,
            "{} new tokens in a past of {}",
            self.new,
            self.len
        );
        self.len - self.new
    }
}
