//! One product per head, straight from the columns of the up-projection. A row has the same bits in any batch.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{self, Buffers, Element};
use crate::flex::rows::{View, tensor, with_element};
use crate::flex::team;

/// Columns of one head within a matrix of `heads * width` columns, or rows of a tensor `[rows, heads, width]`.
struct Heads<'a, E> {
    data: &'a [E],
    rows: usize,
    row_stride: usize,
    head_stride: usize,
}

impl<'a, E: Element> Heads<'a, E> {
    /// Columns `first..first + cols` of a head.
    fn of(&self, head: usize, first: usize, cols: usize) -> MatRef<'a, E> {
        let start = (head * self.head_stride + first).min(self.data.len());
        let strides = [self.row_stride, 1];
        MatRef::strided(&self.data[start..], [self.rows, cols], strides)
    }
}

fn heads_of_rows(view: &View<3>) -> Heads<'_, f32> {
    let [rows, _, _] = view.shape();
    Heads {
        data: view.data(),
        rows,
        row_stride: view.stride(0),
        head_stride: view.stride(1),
    }
}

fn heads_of_columns<E: Element>(view: &View<2>, width: usize) -> Heads<'_, E> {
    Heads {
        data: view.data_of(),
        rows: view.shape()[0],
        row_stride: view.stride(0),
        head_stride: width,
    }
}

/// See [`Ops::absorb_query`](crate::Ops::absorb_query).
pub(crate) fn absorb_query(query: Tensor<Flex, 3>, weight: Tensor<Flex, 2>) -> Tensor<Flex, 3> {
    let ([tokens, heads, nope], [rank, columns]) = (query.dims(), weight.dims());
    let dtype = weight.dtype();
    let (query, weight) = (View::rows(query), View::rows(weight));
    let mut out = vec![0.0; tokens * heads * rank];
    with_element!(dtype, E => {
        let keys = heads_of_columns::<E>(&weight, columns / heads);
        let queries = heads_of_rows(&query);
        by_head(&mut out, [tokens, heads, rank], nope, |head, out| {
            let mut widened = Vec::new();
            let (query, keys) = (queries.of(head, 0, nope), keys.of(head, 0, nope));
            product::dots_block(out, query, keys, &mut widened);
        });
    });
    tensor(out, [tokens, heads, rank])
}

/// See [`Ops::expand_value`](crate::Ops::expand_value).
pub(crate) fn expand_value(
    latent: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    value_dim: usize,
) -> Tensor<Flex, 3> {
    let ([tokens, heads, rank], [_, columns]) = (latent.dims(), weight.dims());
    let dtype = weight.dtype();
    let (latent, weight) = (View::rows(latent), View::rows(weight));
    let width = columns / heads;
    let mut out = vec![0.0; tokens * heads * value_dim];
    with_element!(dtype, E => {
        let values = heads_of_columns::<E>(&weight, width);
        let latents = heads_of_rows(&latent);
        by_head(&mut out, [tokens, heads, value_dim], rank, |head, out| {
            let values = values.of(head, width - value_dim, value_dim);
            let latent = latents.of(head, 0, rank);
            product::add_block(out, latent, values, 0, &mut Buffers::default());
        });
    });
    tensor(out, [tokens, heads, value_dim])
}

/// Calls `work(head, its columns of out)`, on as many threads as sums of `inner` products are worth.
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
