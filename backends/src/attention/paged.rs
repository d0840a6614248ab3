//! Attention of the newest positions of growing sequences, whose past lies in pages.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

use super::AttentionOptions;

/// What hides a score: far below any real one, and still a number.
const HIDDEN: f32 = -1e30;

/// The past of one sequence, its newest positions included.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a, B: Backend> {
    /// Pages in the order of positions, `[page_len, kv_heads, dim]`; the last may be filled in part.
    pub keys: &'a [Tensor<B, 3>],
    /// Where the values are.
    pub values: Values<'a, B>,
    /// Positions in the pages.
    pub len: usize,
    /// How many of them are queries of this pass.
    pub new: usize,
}

/// Where the values of a [`Past`] are.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a, B: Backend> {
    /// In pages of their own, `[page_len, kv_heads, value_dim]`.
    Pages(&'a [Tensor<B, 3>]),
    /// The first columns of the keys, so many.
    OfKeys(usize),
}

impl<B: Backend> Past<'_, B> {
    /// Width of a value.
    pub fn value_dim(&self) -> usize {
        match self.values {
            Values::Pages(pages) => pages[0].dims()[2],
            Values::OfKeys(width) => width,
        }
    }

    fn value(&self, page: usize) -> Tensor<B, 3> {
        match self.values {
            Values::Pages(pages) => pages[page].clone(),
            Values::OfKeys(width) => self.keys[page].clone().narrow(2, 0, width),
        }
    }
}

/// A softmax over what was seen so far, `[kv_heads, group, new, ..]`.
struct Running<B: Backend> {
    max: Tensor<B, 4>,
    sum: Tensor<B, 4>,
    output: Tensor<B, 4>,
}

/// See [`Ops::paged_attention`](crate::Ops::paged_attention). Page by page, so that memory does not grow with the past.
pub fn paged_attention<B: Backend>(
    query: Tensor<B, 3>,
    pasts: &[Past<'_, B>],
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let mut at = 0;
    let outputs = pasts.iter().filter(|past| past.new > 0).map(|past| {
        let rows = query.clone().narrow(0, at, past.new);
        at += past.new;
        of_one(rows, past, options)
    });
    Tensor::cat(outputs.collect(), 0)
}

fn of_one<B: Backend>(
    query: Tensor<B, 3>,
    past: &Past<'_, B>,
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let [new, heads, dim] = query.dims();
    let [page_len, shared, _] = past.keys[0].dims();
    let (group, value_dim, dtype) = (heads / shared, past.value_dim(), query.dtype());
    let query = query
        .cast(DType::F32)
        .reshape([new, shared, group, dim])
        .permute([1, 2, 0, 3]);
    let first_query = past.len - past.new;
    let first_seen = match options.window {
        Some(window) => (first_query + 1).saturating_sub(window),
        None => 0,
    };
    let mut running: Option<Running<B>> = None;
    for page in first_seen / page_len..past.len.div_ceil(page_len) {
        let start = page * page_len;
        let count = page_len.min(past.len - start);
        let rows = |of: Tensor<B, 3>| of.narrow(0, 0, count).cast(DType::F32);
        let keys = rows(past.keys[page].clone());
        let scores = query
            .clone()
            .matmul(keys.permute([1, 2, 0]).unsqueeze_dim::<4>(1))
            .mul_scalar(options.scale);
        let scores = match hidden(
            first_query as i64 - start as i64,
            [new, count],
            options,
            &query,
        ) {
            Some(hidden) => {
                let hidden = hidden.unsqueeze::<4>().expand([shared, group, new, count]);
                scores.mask_fill(hidden, HIDDEN)
            }
            None => scores,
        };
        let values = rows(past.value(page)).swap_dims(0, 1).unsqueeze_dim::<4>(1);
        running = Some(merged(running, scores, values));
    }
    let running = running.expect("a sequence that grows has positions");
    (running.output / running.sum)
        .permute([2, 0, 1, 3])
        .reshape([new, heads, value_dim])
        .cast(dtype)
}

/// True where a query must not see a key: query `i` stands at key `i + offset`.
fn hidden<B: Backend>(
    offset: i64,
    [new, count]: [usize; 2],
    options: AttentionOptions,
    like: &Tensor<B, 4>,
) -> Option<Tensor<B, 2, Bool>> {
    let device = like.device();
    let future = (offset < count as i64 - 1)
        .then(|| Tensor::<B, 2, Bool>::tril_mask([new, count], offset, &device));
    let left_behind = options.window.and_then(|window| {
        let begin = offset + 1 - window as i64;
        (begin + new as i64 > 1)
            .then(|| Tensor::<B, 2, Bool>::triu_mask([new, count], begin, &device))
    });
    match (future, left_behind) {
        (Some(future), Some(left_behind)) => Some(future.bool_or(left_behind)),
        (one, None) | (None, one) => one,
    }
}

fn merged<B: Backend>(
    running: Option<Running<B>>,
    scores: Tensor<B, 4>,
    values: Tensor<B, 4>,
) -> Running<B> {
    let page_max = scores.clone().max_dim(3);
    let max = match &running {
        Some(running) => running.max.clone().max_pair(page_max),
        None => page_max,
    };
    let weights = (scores - max.clone()).exp();
    let (sum, output) = (weights.clone().sum_dim(3), weights.matmul(values));
    match running {
        None => Running { max, sum, output },
        Some(before) => {
            let kept = (before.max - max.clone()).exp();
            Running {
                max,
                sum: before.sum * kept.clone() + sum,
                output: before.output * kept + output,
            }
        }
    }
}
