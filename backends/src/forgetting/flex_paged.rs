//! A few queries against pages, read where they are.
//!
//! Chunks begin at multiples of [`CHUNK`] positions whatever the pages are, and each has a softmax of its own;
//! they are put together in the order of positions, so a query's output depends on its past alone.

use std::ops::Range;

use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

use super::paged::Seen;
use crate::flex::matrix::MatRef;
use crate::flex::product::threads_worth;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::{dot, kernel};
use crate::flex::team;
use crate::paged::Page;
use crate::paged::merge::{Part, exponentials};
use crate::paged::rows::Rows;
use crate::quantized::BLOCK;

/// Positions of a chunk.
const CHUNK: usize = 512;

/// Queries that are few; of more, the pages are put together.
pub(crate) const FEW: usize = 16;

/// One query and head with the keys of one chunk.
struct Task {
    query: usize,
    head: usize,
    positions: Range<usize>,
    part: Part,
}

/// See [`Ops::forgetting_paged`](crate::Ops::forgetting_paged). Absent when pages are not stored as the kernels
/// read them.
pub(crate) fn forgetting_paged(
    query: &Tensor<Flex, 3>,
    seen: &Seen<'_, Flex>,
    scale: f64,
) -> Option<Tensor<Flex, 3>> {
    let [new, heads, dim] = query.dims();
    let [_, _, value_dim] = seen.values[0].dims();
    let pages = Pages::new(seen)?;
    let query = View::rows(query.clone());
    let mut tasks = Vec::new();
    for token in 0..new {
        let len = seen.len - new + token + 1;
        for head in 0..heads {
            tasks.extend((0..len).step_by(CHUNK).map(|start| Task {
                query: token,
                head,
                positions: start..(start + CHUNK).min(len),
                part: Part::empty(1, value_dim),
            }));
        }
    }
    let run = |scratch: &mut Scratch, task: &mut Task| {
        let start = task.query * query.stride(0) + task.head * query.stride(1);
        let own = &query.data()[start..start + dim];
        let position = seen.len - new + task.query;
        pages.attend(own, position, scale as f32, task, scratch);
    };
    let work: usize = tasks.iter().map(|task| task.positions.len()).sum();
    match threads_worth(work * (dim + value_dim)) {
        1 => {
            let mut scratch = Scratch::default();
            tasks.iter_mut().for_each(|task| run(&mut scratch, task));
        }
        _ => team::each(tasks.iter_mut().collect(), Scratch::default, run),
    }

    let mut output = vec![0.0; new * heads * value_dim];
    let rows = output.chunks_exact_mut(value_dim.max(1));
    let of_row = tasks.chunk_by(|one, two| (one.query, one.head) == (two.query, two.head));
    for (out, chunks) in rows.zip(of_row) {
        let mut all = Part::empty(1, value_dim);
        chunks.iter().for_each(|task| all.append(0, &task.part));
        let sum = all.sums[0];
        for (out, value) in out.iter_mut().zip(all.outputs) {
            *out = value / sum;
        }
    }
    Some(tensor(output, [new, heads, value_dim]))
}

/// What a thread keeps from task to task.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    widened: Vec<f32>,
}

/// Pages in memory.
struct Pages {
    keys: Vec<Rows>,
    values: Vec<Rows>,
    kept: Vec<View<3>>,
    /// Query heads of a key head.
    group: usize,
}

impl Pages {
    fn new(seen: &Seen<'_, Flex>) -> Option<Self> {
        let rows = |pages: &[Page<Flex>]| pages.iter().map(Rows::of).collect::<Option<_>>();
        let sums = seen.kept.iter().map(|page| match page {
            Page::Numbers(sums) if sums.dtype() == DType::F32 => Some(View::rows(sums.clone())),
            _ => None,
        });
        let ([_, key_heads, _], [_, heads, _]) = (seen.keys[0].dims(), seen.values[0].dims());
        Some(Self {
            keys: rows(seen.keys)?,
            values: rows(seen.values)?,
            kept: sums.collect::<Option<_>>()?,
            group: heads / key_heads,
        })
    }

    /// Pages that hold `positions`, and which of their rows do.
    fn segments(&self, positions: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut first = 0;
        let pages = self.kept.iter().enumerate();
        pages.filter_map(move |(page, kept)| {
            let held = first..first + kept.shape()[0];
            first = held.end;
            let (start, end) = (held.start.max(positions.start), held.end.min(positions.end));
            (start < end).then(|| (page, start - held.start..end - held.start))
        })
    }

    fn sum_of_gates(&self, position: usize, head: usize) -> f32 {
        let found = self.segments(position..position + 1).next();
        let (page, rows) = found.expect("the position is held");
        let kept = &self.kept[page];
        kept.data()[rows.start * kept.stride(0) + head * kept.stride(1)]
    }

    fn attend(
        &self,
        query: &[f32],
        position: usize,
        scale: f32,
        task: &mut Task,
        scratch: &mut Scratch,
    ) {
        let Scratch { scores, widened } = scratch;
        let own = self.sum_of_gates(position, task.head);
        let len = task.positions.len();
        scores.clear();
        scores.resize(len.next_multiple_of(32), 0.0);
        let mut rest = &mut scores[..len];
        for (page, rows) in self.segments(task.positions.clone()) {
            let kept = &self.kept[page];
            let sums = &kept.data()[rows.start * kept.stride(0) + task.head..];
            let (out, behind) = rest.split_at_mut(rows.len());
            rest = behind;
            let keys = rows_of(&self.keys[page], rows, task.head / self.group, widened);
            scores_of(out, query, keys, [scale, own], (sums, kept.stride(0)));
        }
        let [largest, sum] = exponentials(scores, 0..len, 1.0);
        let part = &mut task.part;
        (part.largest[0], part.sums[0]) = (largest, sum);
        let mut rest = &scores[..len];
        for (page, rows) in self.segments(task.positions.clone()) {
            let (weights, behind) = rest.split_at(rows.len());
            rest = behind;
            let values = rows_of(&self.values[page], rows, task.head, widened);
            add_weighted(&mut part.outputs, values, weights);
        }
    }
}

/// Rows of a head as f32.
fn rows_of<'a>(
    page: &'a Rows,
    rows: Range<usize>,
    head: usize,
    widened: &'a mut Vec<f32>,
) -> MatRef<'a> {
    let [_, dim] = page.width();
    if let Some(rows) = page.in_place(head, rows.clone(), dim) {
        return rows;
    }
    let (count, stride) = (rows.len(), dim.next_multiple_of(BLOCK));
    widened.resize(count * stride, 0.0);
    page.widen(head, rows, stride, widened);
    MatRef::strided(widened, [count, dim], [stride, 1])
}

kernel! {
    /// `s q k + (own - sum)` for every key; the sums of the gates are so far apart as is said.
    fn scores_of<'a>(
        scores: &'a mut [f32],
        query: &'a [f32],
        keys: MatRef<'a>,
        factors: [f32; 2],
        sums: (&'a [f32], usize),
    ) {
        let [scale, own] = factors;
        let (sums, stride) = sums;
        for (row, score) in scores.iter_mut().enumerate() {
            *score = dot(query, keys.row(row)) * scale + (own - sums[row * stride]);
        }
    }
}

kernel! {
    fn add_weighted<'a>(sums: &'a mut [f32], values: MatRef<'a>, weights: &'a [f32]) {
        for (row, weight) in weights.iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(values.row(row)) {
                *sum += weight * value;
            }
        }
    }
}
