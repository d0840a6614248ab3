//! Chunks of keys, each with a softmax of its own, put together in the order of positions.
//!
//! Chunks begin at multiples of [`CHUNK`] positions whatever the pages are, and every score, sum and product
//! has a fixed order, so a query's output depends on its past alone. Heads of one key head and the new
//! tokens of a sequence are rows of the same products, which read the keys once for all of them.

use std::ops::Range;

use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

use super::merge::{Part, exponentials};
use super::sequence::{Sequence, page_rows};
use super::{Past, Values};
use crate::attention::AttentionOptions;
use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{Buffers, Element, add_block, dots_block, threads_worth};
use crate::flex::rows::{View, stored, tensor, with_element};
use crate::flex::team;

/// Positions of a chunk.
const CHUNK: usize = 256;
/// Rows of a task at most: queries times the heads of a key head.
const ROWS: usize = 128;

/// See [`Ops::paged_attention`](crate::Ops::paged_attention).
pub(crate) fn paged_attention(
    query: Tensor<Flex, 3>,
    pasts: &[Past<'_, Flex>],
    options: AttentionOptions,
) -> Tensor<Flex, 3> {
    match pasts.iter().find(|past| !past.keys.is_empty()) {
        Some(past) => with_element!(past.keys[0].dtype(), E => {
            attend::<E>(query, pasts, options)
        }),
        None => query,
    }
}

/// True when all pages have elements of one type that the kernels read.
pub(crate) fn readable(pasts: &[Past<'_, Flex>]) -> bool {
    let pages = pasts.iter().flat_map(|past| {
        let values = match past.values {
            Values::Pages(pages) => pages,
            Values::FirstOfKeys(_) => &[],
        };
        past.keys.iter().chain(values)
    });
    let mut types = pages.map(|page| page.dtype());
    let first = types.next().unwrap_or(DType::F32);
    stored(first) && types.all(|dtype| dtype == first)
}

/// New tokens of a sequence with the heads of one key head, and where their output goes.
struct Task<'a> {
    sequence: &'a Sequence,
    head: usize,
    tokens: Range<usize>,
    /// Row of the query that is the first of `tokens`.
    row: usize,
    out: Vec<f32>,
}

impl Task<'_> {
    /// Chunks that one of the tokens sees.
    fn chunks(&self) -> Range<usize> {
        let first = self.sequence.seen(self.tokens.start).start;
        let end = self.sequence.seen(self.tokens.end - 1).end;
        first / CHUNK..end.div_ceil(CHUNK)
    }
}

fn attend<E: Element>(
    query: Tensor<Flex, 3>,
    pasts: &[Past<'_, Flex>],
    options: AttentionOptions,
) -> Tensor<Flex, 3> {
    let [tokens, heads, dim] = query.dims();
    let query = View::rows(query);
    let sequences: Vec<_> = pasts
        .iter()
        .filter(|past| past.new > 0)
        .map(|past| (Sequence::new(past, options), past.new))
        .collect();
    let Some((first, _)) = sequences.first() else {
        return tensor(Vec::new(), [0, heads, dim]);
    };
    let (kv_heads, value_dim) = (first.kv_heads, first.value_dim);
    let group = heads / kv_heads;
    let step = (ROWS / group).max(1);

    let mut tasks = Vec::new();
    let mut row = 0;
    for (sequence, new) in &sequences {
        for start in (0..*new).step_by(step) {
            for head in 0..kv_heads {
                tasks.push(Task {
                    sequence,
                    head,
                    tokens: start..(start + step).min(*new),
                    row: row + start,
                    out: Vec::new(),
                });
            }
        }
        row += new;
    }
    assert_eq!(row, tokens, "new tokens of all sequences");

    let work = |task: &Task<'_>| task.chunks().len() * task.tokens.len();
    let total: usize = tasks.iter().map(work).sum();
    let threads = threads_worth(total * group * CHUNK * (dim + value_dim));
    let shape = Shape {
        dim,
        group,
        scale: options.scale as f32,
    };
    if threads == 1 {
        let mut scratch = Scratch::default();
        for task in &mut tasks {
            let chunks = task.chunks();
            task.out = finish(part::<E>(&query, task, chunks, shape, &mut scratch));
        }
    } else if tasks.len() >= threads {
        let work = |scratch: &mut Scratch, task: &mut Task<'_>| {
            let chunks = task.chunks();
            task.out = finish(part::<E>(&query, task, chunks, shape, scratch));
        };
        team::each(tasks.iter_mut().collect(), Scratch::default, work);
    } else {
        for task in &mut tasks {
            let empty = || Part::empty(0, value_dim);
            let mut parts: Vec<(usize, Part)> = task.chunks().map(|at| (at, empty())).collect();
            let work = |scratch: &mut Scratch, (chunk, out): &mut (usize, Part)| {
                *out = part::<E>(&query, task, *chunk..*chunk + 1, shape, scratch);
            };
            team::each(parts.iter_mut().collect(), Scratch::default, work);
            let mut all = Part::empty(task.tokens.len() * group, value_dim);
            parts.iter().for_each(|(_, part)| all.append(part));
            task.out = finish(all);
        }
    }

    let mut output = vec![0.0; tokens * heads * value_dim];
    let width = group * value_dim;
    for task in &tasks {
        for (own, row) in task.out.chunks_exact(width.max(1)).zip(task.row..) {
            output[(row * kv_heads + task.head) * width..][..width].copy_from_slice(own);
        }
    }
    tensor(output, [tokens, heads, value_dim])
}

#[derive(Clone, Copy)]
struct Shape {
    dim: usize,
    /// Query heads of a key head.
    group: usize,
    scale: f32,
}

/// What a thread keeps from chunk to chunk.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    widened: Vec<f32>,
    products: Buffers,
}

/// A task's softmax over some chunks, in their order.
fn part<E: Element>(
    query: &View<3>,
    task: &Task<'_>,
    chunks: Range<usize>,
    shape: Shape,
    scratch: &mut Scratch,
) -> Part {
    let Shape { dim, group, scale } = shape;
    let (sequence, head) = (task.sequence, task.head);
    let rows = task.tokens.len() * group;
    let Scratch {
        queries,
        scores,
        widened,
        products,
    } = scratch;
    queries.clear();
    for token in 0..task.tokens.len() {
        for own in 0..group {
            let at = (task.row + token) * query.stride(0) + (head * group + own) * query.stride(1);
            queries.extend_from_slice(&query.data()[at..at + dim]);
        }
    }
    let queries = MatRef::new(queries, [rows, dim]);

    let mut all = Part::empty(rows, sequence.value_dim);
    let mut own = Part::empty(rows, sequence.value_dim);
    let last = sequence.seen(task.tokens.end - 1).end;
    for chunk in chunks {
        let positions = chunk * CHUNK..((chunk + 1) * CHUNK).min(last);
        let width = positions.len().next_multiple_of(32);
        scores.clear();
        scores.resize(rows * width, 0.0);
        for (page, held, at) in sequence.segments(positions.clone()) {
            let keys = page_rows::<E>(&sequence.keys[page], head, held.clone(), dim);
            let mut scores = MatMut::new(scores, [rows, width]).columns(at..at + held.len());
            dots_block(&mut scores, queries, keys, widened);
        }
        own.clear();
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let seen = sequence.seen(task.tokens.start + row / group);
            let within = |position: usize| position.clamp(positions.start, positions.end);
            let seen = within(seen.start) - positions.start..within(seen.end) - positions.start;
            [own.largest[row], own.sums[row]] = exponentials(scores, seen, scale);
        }
        for (page, held, at) in sequence.segments(positions) {
            let pages = sequence.values.as_ref().unwrap_or(&sequence.keys);
            let values = page_rows::<E>(&pages[page], head, held.clone(), sequence.value_dim);
            let weights = MatRef::new(scores, [rows, width]).columns(at..at + held.len());
            let mut out = MatMut::new(&mut own.outputs, [rows, sequence.value_dim]);
            add_block(&mut out, weights, values, 0, products);
        }
        all.append(&own);
    }
    all
}

/// The weighed values over the sum of their weights.
fn finish(part: Part) -> Vec<f32> {
    let Part {
        sums, mut outputs, ..
    } = part;
    let value_dim = outputs.len() / sums.len().max(1);
    for (out, sum) in outputs.chunks_exact_mut(value_dim.max(1)).zip(sums) {
        out.iter_mut().for_each(|value| *value /= sum);
    }
    outputs
}
