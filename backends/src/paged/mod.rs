//! Attention of the newest tokens of several sequences to their pasts, which are kept in pages.

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

/// What one sequence has seen so far, its newest tokens included.
#[derive(Debug, Clone)]
pub struct Past<'a, B: Backend> {
    /// Pages of keys in order, each `[page_len, kv_heads, dim]`; pages may differ in length.
    pub keys: &'a [Page<B>],
    /// Where the values are.
    pub values: Values<'a, B>,
    /// Positions in use, counted from the first page on, the newest tokens included.
    pub len: usize,
    /// How many rows of the query are this sequence's newest tokens.
    pub new: usize,
}

/// Where the values of a [`Past`] are.
#[derive(Debug, Clone)]
pub enum Values<'a, B: Backend> {
    /// In pages of their own, each as long as that of the keys, `[page_len, kv_heads, value_dim]`.
    Pages(&'a [Page<B>]),
    /// The first columns of the keys, so many: the latent of multi-head latent attention.
    FirstOfKeys(usize),
    /// Keys and values of all heads are made of the rows in the pages.
    Expanded(&'a Expansion<B>),
}

/// How a row `[latent, rotary key]` of width `rank + rope` becomes keys and values of all heads: the key of head `h`
/// is `[c U_h, r]` and its value `c V_h`.
#[derive(Debug, Clone)]
pub struct Expansion<B: Backend> {
    /// `[rank, heads * (nope + value_dim)]`, for every head `U_h`, then `V_h`.
    pub weight: Weight<B, 2>,
    /// Width of a value.
    pub value_dim: usize,
}

impl<B: Backend> Past<'_, B> {
    /// Width of a value.
    ///
    /// # Panics
    ///
    /// Without a page.
    pub fn value_dim(&self) -> usize {
        match self.values {
            Values::Pages(pages) => pages[0].dims()[2],
            Values::FirstOfKeys(dim) => dim,
            Values::Expanded(expansion) => expansion.value_dim,
        }
    }

    /// Pages in use: their number, first position and positions in use.
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
