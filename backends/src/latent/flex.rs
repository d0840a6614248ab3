//! One product per head, directly from the columns of the up-projection. The bits of a row do not depend on the
//! batch, and quantized weights give the bits of the product with their f32 values.

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{self, Buffers, Weights, dots_block};
use crate::flex::rows::{View, tensor};
use crate::flex::stored::{Held, Stored};
use crate::flex::team;
use crate::quantized::BLOCK;
use crate::weight::Weight;

/// Number of quantized rows converted to f32 at once.
const WIDENED: usize = 64;

/// An up-projection in memory, with the division of its columns among heads.
pub(crate) struct Up {
    weight: Held<2>,
    rank: usize,
    /// Columns per head, those of the value last.
    width: usize,
    value: usize,
}

impl Up {
    /// `None` if the kernels do not support its format, or if a block spans two heads or key and value.
    pub(crate) fn new(weight: &Weight<Flex, 2>, heads: usize, value: usize) -> Option<Self> {
        let [rank, columns] = weight.dims();
        let width = columns / heads;
        let whole = width.is_multiple_of(BLOCK) && value.is_multiple_of(BLOCK);
        if matches!(weight, Weight::Blocks(_)) && !whole {
            return None;
        }
        Some(Self {
            weight: Held::rows(weight)?,
            rank,
            width,
            value,
        })
    }

    /// Width of a latent.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Width of a head's key without rotary part.
    pub(crate) fn nope(&self) -> usize {
        self.width - self.value
    }

    /// `out += c U_h`.
    pub(crate) fn add_keys(
        &self,
        head: usize,
        latents: MatRef<'_>,
        out: &mut MatMut<'_>,
        buffers: &mut Buffers,
    ) {
        let first = head * self.width;
        self.weight
            .matrix(0)
            .add_block(out, latents, first, buffers);
    }

    /// `out += c V_h`.
    pub(crate) fn add_values(
        &self,
        head: usize,
        latents: MatRef<'_>,
        out: &mut MatMut<'_>,
        buffers: &mut Buffers,
    ) {
        let first = head * self.width + self.nope();
        self.weight
            .matrix(0)
            .add_block(out, latents, first, buffers);
    }

    /// `out = q U_h^T`.
    fn absorb(
        &self,
        head: usize,
        queries: MatRef<'_>,
        out: &mut MatMut<'_>,
        widened: &mut Vec<f32>,
    ) {
        let columns = head * self.width..head * self.width + self.nope();
        match self.weight.matrix(0) {
            Stored::F32(keys) => dots_block(out, queries, keys.columns(columns), widened),
            Stored::Bf16(keys) => dots_block(out, queries, keys.columns(columns), widened),
            Stored::F16(keys) => dots_block(out, queries, keys.columns(columns), widened),
            Stored::EightBits(keys) => dots_of_blocks(out, queries, keys, columns, widened),
            Stored::FourBits(keys) => dots_of_blocks(out, queries, keys, columns, widened),
        }
    }
}

/// [`dots_block`] of quantized rows, a few at a time.
fn dots_of_blocks<W: Weights>(
    out: &mut MatMut<'_>,
    queries: MatRef<'_>,
    keys: W,
    columns: Range<usize>,
    widened: &mut Vec<f32>,
) {
    widened.resize(WIDENED * columns.len(), 0.0);
    let [tokens, _] = out.shape();
    for ([_, row], mut out) in out.rows(0..tokens).split_blocks(tokens.max(1), WIDENED) {
        let [_, count] = out.shape();
        let rows = widened.chunks_exact_mut(columns.len().max(1)).take(count);
        for (at, widened) in rows.enumerate() {
            keys.widen(row + at, columns.clone(), widened);
        }
        let keys = MatRef::new(widened, [count, columns.len()]);
        dots_block(&mut out, queries, keys, &mut Vec::new());
    }
}

/// Rows of one head of a tensor `[rows, heads, width]`.
fn rows_of(view: &View<3>, head: usize) -> MatRef<'_> {
    let [rows, _, width] = view.shape();
    let data = view.data();
    let start = (head * view.stride(1)).min(data.len());
    MatRef::strided(&data[start..], [rows, width], [view.stride(0), 1])
}

/// See [`Ops::absorb_query`](crate::Ops::absorb_query).
pub(crate) fn absorb_query(query: Tensor<Flex, 3>, up: &Up) -> Tensor<Flex, 3> {
    let [tokens, heads, nope] = query.dims();
    assert_eq!(nope, up.nope(), "width of a query");
    let query = View::rows(query);
    let mut out = vec![0.0; tokens * heads * up.rank];
    by_head(&mut out, [tokens, heads, up.rank], nope, |head, out| {
        up.absorb(head, rows_of(&query, head), out, &mut Vec::new());
    });
    tensor(out, [tokens, heads, up.rank])
}

/// See [`Ops::expand_value`](crate::Ops::expand_value).
pub(crate) fn expand_value(latent: Tensor<Flex, 3>, up: &Up) -> Tensor<Flex, 3> {
    let [tokens, heads, rank] = latent.dims();
    assert_eq!(rank, up.rank, "width of a latent");
    let latent = View::rows(latent);
    let mut out = vec![0.0; tokens * heads * up.value];
    by_head(&mut out, [tokens, heads, up.value], rank, |head, out| {
        up.add_values(head, rows_of(&latent, head), out, &mut Buffers::default());
    });
    tensor(out, [tokens, heads, up.value])
}

/// Calls `work(head, its columns of out)`, on as many threads as the products, sums of `inner` terms, justify.
fn by_head(
    out: &mut [f32],
    [tokens, heads, width]: [usize; 3],
    inner: usize,
    work: impl Fn(usize, &mut MatMut<'_>) + Sync,
) {
    let out = MatMut::new(out, [tokens, heads * width]);
    let blocks = out.split_blocks(tokens.max(1), width);
    let one = |([_, column], mut out): ([usize; 2], MatMut<'_>)| work(column / width, &mut out);
    match product::threads_worth(tokens * heads * width * inner) {
        1 => blocks.into_iter().for_each(one),
        _ => team::each(blocks, || (), |(), block| one(block)),
    }
}
