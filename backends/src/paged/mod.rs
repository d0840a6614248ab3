//! Attention of the newest tokens of several sequences to their pasts, which are kept in pages.

#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "flex")]
pub(crate) mod flex_write;
#[cfg(feature = "flex")]
mod merge;
pub mod reference;
#[cfg(feature = "flex")]
mod sequence;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// What one sequence has seen so far, its newest tokens included.
#[derive(Debug, Clone)]
pub struct Past<'a, B: Backend> {
    /// Pages of keys in order, each `[page_len, kv_heads, dim]`; pages may differ in length.
    pub keys: &'a [Tensor<B, 3>],
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
    Pages(&'a [Tensor<B, 3>]),
    /// The first columns of the keys, so many: the latent of multi-head latent attention.
    FirstOfKeys(usize),
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
        }
    }

    /// Pages in use: their number, first position and positions in use.
    fn pages(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut start = 0;
        self.keys.iter().enumerate().map_while(move |(page, keys)| {
            let first = start;
            start += keys.dims()[0];
            (first < self.len).then(|| (page, first, keys.dims()[0].min(self.len - first)))
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
