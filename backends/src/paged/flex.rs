//! Paged attention in chunks of keys, each with a partial softmax, merged in the order of positions.
//!
//! Chunks begin at multiples of [`CHUNK`] positions, independent of the pages, and every score, sum and product has
//! a fixed order, so a query's output depends on its past alone. Heads that share a key head and the new tokens of a
//! sequence are rows of the same products, which read the keys once for all of them.
//!
//! With [`LONG`] or more new tokens of a sequence, products use the faster `gemm` crate, whose order of summation
//! depends on their number. Expanded keys and values are computed chunk by chunk for all new tokens together; those
//! of the whole past are never in memory.

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::Past;
use super::merge::{Part, exponentials};
use super::sequence::{Loaded, Segment, Sequence};
use crate::attention::AttentionOptions;
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::product::{Buffers, add_block, dots_block, threads_worth};
use crate::flex::rows::{View, tensor};
use crate::flex::team;

/// Number of positions per chunk.
const CHUNK: usize = 256;
/// Maximum number of queries, times the heads per key head, whose scores are in memory at once.
const ROWS: usize = 128;
/// Number of new tokens of a sequence from which the order of summation may depend on it.
const LONG: usize = 32;
/// [`ROWS`] for at least [`LONG`] new tokens.
const LONG_ROWS: usize = 256;

/// Attention of some new tokens of a sequence, for the heads of one key head.
struct Task<'a> {
    sequence: &'a Sequence,
    head: usize,
    tokens: Range<usize>,
    /// Row of the query that holds the first of `tokens`.
    row: usize,
    products: Products,
    out: Vec<f32>,
}

/// Implementation of the products with keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    /// The bits of a row do not depend on other rows.
    RowByRow,
    Together,
}

impl Products {
    fn of(new: usize) -> Self {
        if new >= LONG {
            Self::Together
        } else {
            Self::RowByRow
        }
    }

    /// Maximum number of rows at once.
    fn rows(self) -> usize {
        match self {
            Self::RowByRow => ROWS,
            Self::Together => LONG_ROWS,
        }
    }
}

impl Task<'_> {
    /// Chunks that at least one of the tokens sees.
    fn chunks(&self) -> Range<usize> {
        let first = self.sequence.seen(self.tokens.start).start;
        let end = self.sequence.seen(self.tokens.end - 1).end;
        first / CHUNK..end.div_ceil(CHUNK)
    }
}

/// See [`Ops::paged_attention`](crate::Ops::paged_attention). `None` if the kernels do not support the format of a
/// page.
///
/// # Panics
///
/// If two pasts store their values in different ways.
pub(crate) fn paged_attention(
    query: &Tensor<Flex, 3>,
    pasts: &[Past<'_, Flex>],
    options: AttentionOptions,
) -> Option<Tensor<Flex, 3>> {
    let [tokens, heads, dim] = query.dims();
    let query = View::rows(query.clone());
    let pasts = pasts.iter().filter(|past| past.new > 0);
    let sequences = pasts
        .map(|past| Some((Sequence::new(past, heads, options)?, past.new)))
        .collect::<Option<Vec<_>>>()?;
    let Some((first, _)) = sequences.first() else {
        return Some(tensor(Vec::new(), [0, heads, dim]));
    };
    let (kv_heads, value_dim) = (first.kv_heads, first.value_dim);
    let group = heads / kv_heads;

    let mut tasks = Vec::new();
    let mut row = 0;
    for (sequence, new) in &sequences {
        assert_eq!(sequence.expands(), first.expands(), "one form for all");
        // expanded keys and values serve all new tokens
        let step = if sequence.expands() {
            *new
        } else {
            (Products::of(*new).rows() / group).max(1)
        };
        for start in (0..*new).step_by(step) {
            for head in 0..kv_heads {
                tasks.push(Task {
                    sequence,
                    head,
                    tokens: start..(start + step).min(*new),
                    row: row + start,
                    products: Products::of(*new),
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
            task.out = finish(part(&query, task, chunks, shape, &mut scratch));
        }
    } else if tasks.len() >= threads {
        let work = |scratch: &mut Scratch, task: &mut Task<'_>| {
            let chunks = task.chunks();
            task.out = finish(part(&query, task, chunks, shape, scratch));
        };
        team::each(tasks.iter_mut().collect(), Scratch::default, work);
    } else {
        for task in &mut tasks {
            let empty = || Part::empty(0, value_dim);
            let mut parts: Vec<(usize, Part)> = task.chunks().map(|at| (at, empty())).collect();
            let work = |scratch: &mut Scratch, (chunk, out): &mut (usize, Part)| {
                *out = part(&query, task, *chunk..*chunk + 1, shape, scratch);
            };
            team::each(parts.iter_mut().collect(), Scratch::default, work);
            let mut all = Part::empty(task.tokens.len() * group, value_dim);
            parts.iter().for_each(|(_, part)| all.append(0, part));
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
    Some(tensor(output, [tokens, heads, value_dim]))
}

#[derive(Clone, Copy)]
struct Shape {
    dim: usize,
    /// Number of query heads per key head.
    group: usize,
    scale: f32,
}

/// Buffers that a thread reuses from chunk to chunk.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    loaded: Loaded,
    block: Block,
}

/// Buffers that a thread reuses from one block of rows to the next.
#[derive(Default)]
struct Block {
    scores: Vec<f32>,
    widened: Vec<f32>,
    products: Buffers,
}

/// Partial softmax of a task over some chunks, in their order.
fn part(
    query: &View<3>,
    task: &Task<'_>,
    chunks: Range<usize>,
    shape: Shape,
    scratch: &mut Scratch,
) -> Part {
    let Shape { dim, group, .. } = shape;
    let (sequence, head) = (task.sequence, task.head);
    let rows = task.tokens.len() * group;
    let Scratch {
        queries,
        loaded,
        block,
    } = scratch;
    queries.clear();
    for token in 0..task.tokens.len() {
        for own in 0..group {
            let at = (task.row + token) * query.stride(0) + (head * group + own) * query.stride(1);
            queries.extend_from_slice(&query.data()[at..at + dim]);
        }
    }
    let queries = MatRef::new(queries, [rows, dim]);

    let step = (task.products.rows() / group).max(1) * group;
    let mut all = Part::empty(rows, sequence.value_dim);
    let mut own = Part::empty(rows.min(step), sequence.value_dim);
    let last = sequence.seen(task.tokens.end - 1).end;
    for chunk in chunks {
        let positions = chunk * CHUNK..((chunk + 1) * CHUNK).min(last);
        sequence.load(head, positions.clone(), loaded);
        let keys = sequence.keys(head, positions.clone(), dim, loaded);
        let values = sequence.values(head, positions.clone(), loaded);
        for first in (0..rows).step_by(step) {
            let rows = first..rows.min(first + step);
            let seen = |row: usize| {
                let seen = sequence.seen(task.tokens.start + row / group);
                let within = |position: usize| {
                    position.clamp(positions.start, positions.end) - positions.start
                };
                within(seen.start)..within(seen.end)
            };
            if seen(rows.end - 1).is_empty() && seen(rows.start).is_empty() {
                continue;
            }
            own.clear(rows.len());
            let sees = |row: usize| seen(first + row);
            let queries = queries.rows(rows);
            let chunk = Chunk {
                len: positions.len(),
                keys: &keys,
                values: &values,
                products: task.products,
            };
            chunk.attend(queries, shape.scale, sees, &mut own, block);
            all.append(first, &own);
        }
    }
    all
}

/// Keys and values of some positions.
struct Chunk<'a> {
    len: usize,
    keys: &'a [Segment<'a>],
    values: &'a [Segment<'a>],
    products: Products,
}

impl Chunk<'_> {
    /// Adds, for some queries, the partial softmax over the positions that each sees.
    fn attend(
        &self,
        queries: MatRef<'_>,
        scale: f32,
        sees: impl Fn(usize) -> Range<usize>,
        out: &mut Part,
        block: &mut Block,
    ) {
        let [rows, _] = queries.shape();
        let width = self.len.next_multiple_of(32);
        let Block {
            scores,
            widened,
            products,
        } = block;
        scores.resize(rows * width, 0.0);
        for &(at, keys) in self.keys {
            let columns = at..at + keys.shape()[0];
            let mut scores = MatMut::new(scores, [rows, width]).columns(columns);
            match self.products {
                Products::Together => {
                    let keys = keys.transposed();
                    gemm(&mut scores, Update::Set, 1.0, queries, keys, Threads::One);
                }
                Products::RowByRow => dots_block(&mut scores, queries, keys, widened),
            }
        }
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            [out.largest[row], out.sums[row]] = exponentials(scores, sees(row), scale);
        }
        for &(at, values) in self.values {
            let [count, value_dim] = values.shape();
            let weights = MatRef::new(scores, [rows, width]).columns(at..at + count);
            let mut out = MatMut::new(&mut out.outputs, [rows, value_dim]);
            match self.products {
                Products::Together => {
                    gemm(&mut out, Update::Add, 1.0, weights, values, Threads::One);
                }
                Products::RowByRow => add_block(&mut out, weights, values, 0, products),
            }
        }
    }
}

/// Divides the weighted values by the sum of their weights.
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
