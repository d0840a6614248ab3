//! Paged attention with a partial softmax per page, merged at the end: flash-decoding
//! (<https://crfm.stanford.edu/2023/10/12/flashdecoding.html>).
//!
//! For each page, a cube computes the part of one head and one new token: the largest score, the sum of
//! `e^(score - largest)` and the values weighted by these, in f32. Pages are separate in memory, so each is launched
//! separately.

use burn::tensor::DType;
use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::{Past, Values};
use crate::attention::AttentionOptions;
use crate::autodiff::primitive;
use crate::cube::few;
use crate::cube::launch::{addresses, empty, in_rows};

/// Maximum number of positions per page.
const POSITIONS: usize = 128;
/// Number of units along a key.
const LANES: u32 = 32;
/// Number of keys that are read at once.
const KEYS: u32 = 8;
/// Initial value of a maximum: finite, and below every score.
const LOWEST: f32 = -1e30;

/// Whether the kernels support these pasts.
pub(crate) fn fits<B: Backend>(pasts: &[Past<'_, B>]) -> bool {
    let held = |page: &super::Page<B>| {
        let numbers = page.held_numbers();
        numbers.is_some_and(|rows| rows.dims()[0] <= POSITIONS)
    };
    let each_fits = |past: &Past<'_, B>| {
        let values: &[_] = match past.values {
            Values::Pages(pages) => pages,
            Values::FirstOfKeys(_) => &[],
            Values::Expanded(_) => return false,
        };
        (past.new == 0 || few(past.new)) && past.keys.iter().chain(values).all(held)
    };
    pasts.iter().any(|past| past.new > 0) && pasts.iter().all(each_fits)
}

/// Cache of one sequence, page by page.
pub(crate) struct Sequence<R: CubeRuntime> {
    pub(crate) pages: Vec<Page<R>>,
    pub(crate) value_dim: usize,
    /// Position of its first new token; `new` is their number.
    pub(crate) first_new: usize,
    pub(crate) new: usize,
}

/// A page that new tokens see.
pub(crate) struct Page<R: CubeRuntime> {
    pub(crate) keys: CubeTensor<R>,
    pub(crate) values: CubeTensor<R>,
    /// Its first position; `len` is the number of positions in use.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl<R: CubeRuntime> Sequence<R> {
    /// Pages of a past that are within the window of a new token.
    pub(crate) fn new<B: Backend<FloatTensorPrimitive = CubeTensor<R>>>(
        past: &Past<'_, B>,
        options: AttentionOptions,
    ) -> Self {
        let first_new = past.first_new();
        let first_seen = (first_new + 1).saturating_sub(options.window.unwrap_or(usize::MAX));
        let memory = |page: &super::Page<B>| {
            let rows = page.held_numbers().expect("it fits");
            in_rows(primitive(rows.clone()))
        };
        let pages = past
            .pages()
            .filter(|(_, start, len)| start + len > first_seen);
        let pages = pages.map(|(page, start, len)| {
            let keys = memory(&past.keys[page]);
            let values = match past.values {
                Values::Pages(pages) => memory(&pages[page]),
                Values::FirstOfKeys(_) | Values::Expanded(_) => keys.clone(),
            };
            Page {
                keys,
                values,
                start,
                len,
            }
        });
        Self {
            pages: pages.collect(),
            value_dim: past.value_dim(),
            first_new,
            new: past.new,
        }
    }
}

/// See [`Ops::paged_attention`](crate::Ops::paged_attention). All sequences must have new tokens.
pub(crate) fn paged_attention<R: CubeRuntime>(
    query: CubeTensor<R>,
    sequences: Vec<Sequence<R>>,
    options: AttentionOptions,
) -> CubeTensor<R> {
    let query = in_rows(query);
    let [tokens, heads] = [0, 1].map(|dim| query.meta.shape()[dim]);
    let output = empty(&query, [tokens, heads, sequences[0].value_dim], query.dtype);
    let mut row = 0;
    for sequence in sequences {
        let Sequence {
            pages,
            value_dim,
            first_new,
            new,
        } = sequence;
        let count = CubeCount::Static(heads as u32, new as u32, 1);
        let parts = empty(
            &query,
            [new * heads, pages.len(), value_dim + 2],
            DType::F32,
        );
        for (number, page) in pages.into_iter().enumerate() {
            let span = SpanLaunch::new(
                row as u32,
                number as u32,
                page.start as u32,
                page.len as u32,
                first_new as u32,
                options.window.map_or(u32::MAX, |window| window as u32),
                options.scale as f32,
            );
            let types = [
                query.dtype.into(),
                page.keys.dtype.into(),
                page.values.dtype.into(),
            ];
            part::launch::<R>(
                &query.client,
                count.clone(),
                CubeDim::new_2d(LANES, KEYS),
                addresses(&[&query, &page.keys, &page.values, &parts]),
                query.clone().into_tensor_arg(),
                page.keys.into_tensor_arg(),
                page.values.into_tensor_arg(),
                parts.clone().into_tensor_arg(),
                span,
                types,
            );
        }
        together::launch::<R>(
            &query.client,
            count,
            CubeDim::new_1d(LANES * KEYS),
            addresses(&[&parts, &output]),
            parts.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            row as u32,
            output.dtype.into(),
        );
        row += new;
    }
    assert_eq!(row, tokens, "new tokens of all sequences");
    output
}

/// Position of a page, and the tokens that see it.
#[derive(CubeType, CubeLaunch)]
struct Span {
    /// Row of the query that holds the first new token.
    row: u32,
    /// Index of the page among those seen.
    number: u32,
    start: u32,
    len: u32,
    first_new: u32,
    window: u32,
    scale: f32,
}

#[cube(launch, address_type = "dynamic")]
fn part<Q: Float, K: Float, V: Float>(
    query: &Tensor<Q>,
    keys: &Tensor<K>,
    values: &Tensor<V>,
    parts: &mut Tensor<f32>,
    span: &Span,
    #[define(Q, K, V)] _types: [StorageType; 3],
) {
    let head = CUBE_POS_X as usize;
    let token = CUBE_POS_Y as usize;
    let heads = query.shape(1);
    let kv_head = head / (heads / keys.shape(1));
    let lanes = comptime!(LANES as usize);
    let (lane, unit) = (UNIT_POS_X as usize, UNIT_POS as usize);
    let len = span.len as usize;

    let own = (span.row as usize + token) * query.stride(0) + head * query.stride(1);
    let mut products = SharedMemory::<f32>::new(comptime!(POSITIONS * LANES as usize));
    let mut key = UNIT_POS_Y as usize;
    while key < len {
        let row = key * keys.stride(0) + kv_head * keys.stride(1);
        let mut sum = 0.0f32;
        let mut at = lane;
        while at < query.shape(2) {
            sum += f32::cast_from(query[own + at]) * f32::cast_from(keys[row + at]);
            at += lanes;
        }
        products[key * lanes + lane] = sum;
        key += KEYS as usize;
    }
    sync_cube();

    let mut scores = SharedMemory::<f32>::new(POSITIONS);
    if unit < len {
        let mut sum = 0.0f32;
        for lane in 0..lanes {
            sum += products[unit * lanes + lane];
        }
        let query_at = span.first_new + token as u32;
        let key_at = span.start + unit as u32;
        let seen = key_at <= query_at && query_at - key_at < span.window;
        scores[unit] = select(seen, sum * span.scale, LOWEST);
    }
    sync_cube();

    let mut largest = f32::new(LOWEST);
    for key in 0..len {
        largest = max(largest, scores[key]);
    }
    sync_cube();
    if unit < len {
        let score = scores[unit];
        scores[unit] = select(score > LOWEST, (score - largest).exp(), 0.0);
    }
    sync_cube();

    let value_dim = parts.shape(2) - 2;
    let out = (token * heads + head) * parts.stride(0) + span.number as usize * parts.stride(1);
    let mut column = unit;
    while column < value_dim {
        let mut sum = 0.0f32;
        for key in 0..len {
            let at = key * values.stride(0) + kv_head * values.stride(1) + column;
            sum += scores[key] * f32::cast_from(values[at]);
        }
        parts[out + column] = sum;
        column += comptime!((LANES * KEYS) as usize);
    }
    if unit == 0 {
        let mut sum = 0.0f32;
        for key in 0..len {
            sum += scores[key];
        }
        parts[out + value_dim] = largest;
        parts[out + value_dim + 1] = sum;
    }
}

#[cube(launch, address_type = "dynamic")]
fn together<Y: Float>(
    parts: &Tensor<f32>,
    output: &mut Tensor<Y>,
    row: u32,
    #[define(Y)] _type: StorageType,
) {
    let head = CUBE_POS_X as usize;
    let token = CUBE_POS_Y as usize;
    let value_dim = output.shape(2);
    let own = (token * output.shape(1) + head) * parts.stride(0);
    let mut largest = f32::new(LOWEST);
    for page in 0..parts.shape(1) {
        largest = max(largest, parts[own + page * parts.stride(1) + value_dim]);
    }
    let mut column = UNIT_POS as usize;
    while column < value_dim {
        let mut sum = 0.0f32;
        let mut weights = 0.0f32;
        for page in 0..parts.shape(1) {
            let part = own + page * parts.stride(1);
            let factor = (parts[part + value_dim] - largest).exp();
            sum += factor * parts[part + column];
            weights += factor * parts[part + value_dim + 1];
        }
        let out = (row as usize + token) * output.stride(0) + head * output.stride(1) + column;
        output[out] = Y::cast_from(sum / weights);
        column += comptime!((LANES * KEYS) as usize);
    }
}
