//! One product per head, straight from the columns of the up-projection. A row has the same bits in any batch, and
//! with blocks those of the product with the numbers that they stand for.

use burn::tensor::{DType, Tensor, bf16, f16};
use burn_flex::Flex;
use rayon::prelude::*;

use super::UpProjection;
use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{self, Buffers, Element, Weights};
use crate::flex::rows::{View, stored, tensor};
use crate::quantized::flex::Packed;
use crate::quantized::{BLOCK, Bits};

/// Rows of blocks that become f32 at once.
const WIDENED: usize = 64;

/// An up-projection in memory, and how its columns are divided among heads.
pub(crate) struct Up {
    weight: Weight,
    rank: usize,
    /// Columns of a head, those of the value last.
    width: usize,
    value: usize,
}

enum Weight {
    F32(View<2>),
    Bf16(View<2>),
    F16(View<2>),
    Blocks(Packed<2>),
}

/// Evaluates `body` with the weights, whatever they are stored as.
macro_rules! with_weights {
    ($weight:expr, $weights:ident => $body:expr) => {
        match $weight {
            Weight::F32(view) => {
                let $weights = view.matrix_of::<f32>();
                $body
            }
            Weight::Bf16(view) => {
                let $weights = view.matrix_of::<bf16>();
                $body
            }
            Weight::F16(view) => {
                let $weights = view.matrix_of::<f16>();
                $body
            }
            Weight::Blocks(packed) => match packed.bits() {
                Bits::Eight => {
                    let $weights = packed.eight_bits(0);
                    $body
                }
                Bits::Four => {
                    let $weights = packed.four_bits(0);
                    $body
                }
            },
        }
    };
}

impl Up {
    /// Absent when it is not stored as the kernels read it, or a block has columns of two heads.
    pub(crate) fn new(weight: UpProjection<Flex>, heads: usize, value: usize) -> Option<Self> {
        let [rank, columns] = weight.dims();
        let width = columns / heads;
        let weight = match weight {
            UpProjection::Numbers(weight) => {
                let dtype = weight.dtype();
                if !stored(dtype) {
                    return None;
                }
                let view = View::rows(weight);
                match dtype {
                    DType::BF16 => Weight::Bf16(view),
                    DType::F16 => Weight::F16(view),
                    _ => Weight::F32(view),
                }
            }
            UpProjection::Blocks(weight) => {
                if !(width.is_multiple_of(BLOCK) && value.is_multiple_of(BLOCK)) {
                    return None;
                }
                Weight::Blocks(Packed::new(&weight)?)
            }
        };
        Some(Self {
            weight,
            rank,
            width,
            value,
        })
    }

    /// Width of a latent.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Width of a head's key.
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
        with_weights!(&self.weight, weights => {
            product::add_block(out, latents, weights, first, buffers);
        });
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
        with_weights!(&self.weight, weights => {
            product::add_block(out, latents, weights, first, buffers);
        });
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
        fn dots<E: Element>(
            out: &mut MatMut<'_>,
            queries: MatRef<'_>,
            view: &View<2>,
            columns: std::ops::Range<usize>,
            widened: &mut Vec<f32>,
        ) {
            let keys = view.matrix_of::<E>().columns(columns);
            product::dots_block(out, queries, keys, widened);
        }
        match &self.weight {
            Weight::F32(view) => dots::<f32>(out, queries, view, columns, widened),
            Weight::Bf16(view) => dots::<bf16>(out, queries, view, columns, widened),
            Weight::F16(view) => dots::<f16>(out, queries, view, columns, widened),
            blocks => with_weights!(blocks, weights => {
                let mut none = Vec::new();
                widened.resize(WIDENED * columns.len(), 0.0);
                let [tokens, _] = out.shape();
                for ([_, row], mut out) in out.rows(0..tokens).split_blocks(tokens.max(1), WIDENED) {
                    let [_, count] = out.shape();
                    let rows = widened.chunks_exact_mut(columns.len().max(1)).take(count);
                    for (at, widened) in rows.enumerate() {
                        weights.widen(row + at, columns.clone(), widened);
                    }
                    let keys = MatRef::new(widened, [count, columns.len()]);
                    product::dots_block(&mut out, queries, keys, &mut none);
                }
            }),
        }
    }
}

/// Rows of a head, of a tensor `[rows, heads, width]`.
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
        _ => blocks.into_par_iter().for_each(one),
    }
}
