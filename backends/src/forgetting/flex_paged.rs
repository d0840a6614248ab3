//! Forgetting attention of a few queries to pages, which are read in place.
//!
//! Chunks begin at multiples of [`CHUNK`] positions, independent of the pages, and each has its own softmax. Chunks
//! are merged in the order of positions, so a query's output depends on its past alone.

use std::ops::Range;

use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use pulp::{Simd, WithSimd};

use super::paged::Seen;
use crate::flex::matrix::MatRef;
use crate::flex::product::dots::{LANES, TILE_OUTPUTS, Tile};
use crate::flex::product::threads_worth;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::kernel;
use crate::flex::team;
use crate::paged::Page;
use crate::paged::merge::{Part, exponentials};
use crate::paged::rows::Rows;
use crate::quantized::BLOCK;

/// Number of positions per chunk.
const CHUNK: usize = 128;

/// Maximum number of queries; for more, the pages are concatenated.
pub(crate) const FEW: usize = 16;

/// All heads of one query and one chunk, so that a page's row is read completely.
struct Task {
    query: usize,
    positions: Range<usize>,
    part: Part,
}

/// See [`Ops::forgetting_paged`](crate::Ops::forgetting_paged). `None` if the kernels do not support the format of
/// the pages.
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
        tasks.extend((0..len).step_by(CHUNK).map(|start| Task {
            query: token,
            positions: start..(start + CHUNK).min(len),
            part: Part::empty(heads, value_dim),
        }));
    }
    let run = |scratch: &mut Scratch, task: &mut Task| {
        let own = |head: usize| {
            let start = task.query * query.stride(0) + head * query.stride(1);
            &query.data()[start..start + dim]
        };
        let queries: Vec<&[f32]> = (0..heads).map(own).collect();
        let position = seen.len - new + task.query;
        pages.attend(&queries, position, scale as f32, task, scratch);
    };
    let work: usize = tasks.iter().map(|task| task.positions.len()).sum();
    match threads_worth(work * heads * (dim + value_dim)) {
        1 => {
            let mut scratch = Scratch::default();
            tasks.iter_mut().for_each(|task| run(&mut scratch, task));
        }
        _ => team::each(tasks.iter_mut().collect(), Scratch::default, run),
    }

    let mut output = vec![0.0; new * heads * value_dim];
    let rows = output.chunks_exact_mut((heads * value_dim).max(1));
    for (out, chunks) in rows.zip(tasks.chunk_by(|one, two| one.query == two.query)) {
        let mut all = Part::empty(heads, value_dim);
        chunks.iter().for_each(|task| all.append(0, &task.part));
        let values = all.outputs.chunks_exact(value_dim.max(1));
        let heads = out.chunks_exact_mut(value_dim.max(1)).zip(values);
        for ((out, values), sum) in heads.zip(&all.sums) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value / sum;
            }
        }
    }
    Some(tensor(output, [new, heads, value_dim]))
}

/// Buffers that a thread reuses from task to task.
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
}

impl Pages {
    fn new(seen: &Seen<'_, Flex>) -> Option<Self> {
        let rows = |pages: &[Page<Flex>]| pages.iter().map(Rows::of).collect::<Option<_>>();
        let sums = seen.kept.iter().map(|page| match page {
            Page::Numbers(sums) if sums.dtype() == DType::F32 => Some(View::rows(sums.clone())),
            _ => None,
        });
        Some(Self {
            keys: rows(seen.keys)?,
            values: rows(seen.values)?,
            kept: sums.collect::<Option<_>>()?,
        })
    }

    /// Pages that hold `positions`, each with the rows that do.
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

    /// Cumulative gates of a position, by head.
    fn sums_of_gates(&self, position: usize) -> Vec<f32> {
        let found = self.segments(position..position + 1).next();
        let (page, rows) = found.expect("the position is held");
        let kept = &self.kept[page];
        let row = &kept.data()[rows.start * kept.stride(0)..];
        let heads = 0..kept.shape()[1];
        heads.map(|head| row[head * kept.stride(1)]).collect()
    }

    fn attend(
        &self,
        queries: &[&[f32]],
        position: usize,
        scale: f32,
        task: &mut Task,
        scratch: &mut Scratch,
    ) {
        let Scratch { scores, widened } = scratch;
        let heads = queries.len();
        let own = self.sums_of_gates(position);
        let len = task.positions.len();
        let width = len.next_multiple_of(32);
        scores.clear();
        scores.resize(heads * width, 0.0);
        let mut begin = 0;
        for (page, rows) in self.segments(task.positions.clone()) {
            let count = rows.len();
            let kept = &self.kept[page];
            let gates = Gates {
                own: &own,
                kept: &kept.data()[rows.start * kept.stride(0)..],
                strides: [kept.stride(0), kept.stride(1)],
            };
            let keys = heads_of(&self.keys[page], rows, widened);
            pulp::Arch::new().dispatch(Scores {
                scores,
                place: [width, begin, count],
                queries,
                keys: &keys,
                scale,
                gates,
            });
            begin += count;
        }
        let part = &mut task.part;
        for (head, scores) in scores.chunks_exact_mut(width).enumerate() {
            let [largest, sum] = exponentials(scores, 0..len, 1.0);
            (part.largest[head], part.sums[head]) = (largest, sum);
        }
        let mut begin = 0;
        for (page, rows) in self.segments(task.positions.clone()) {
            let count = rows.len();
            let values = heads_of(&self.values[page], rows, widened);
            add_weighted(&mut part.outputs, &values, scores, [width, begin, count]);
            begin += count;
        }
    }
}

/// Some rows of every head, in f32.
fn heads_of<'a>(page: &'a Rows, rows: Range<usize>, widened: &'a mut Vec<f32>) -> Vec<MatRef<'a>> {
    let [heads, dim] = page.width();
    let in_place = |head| page.in_place(head, rows.clone(), dim);
    if let Some(heads) = (0..heads).map(in_place).collect() {
        return heads;
    }
    let (count, stride) = (rows.len(), dim.next_multiple_of(BLOCK));
    widened.resize(heads * count * stride, 0.0);
    for (head, out) in widened.chunks_exact_mut(count * stride).enumerate() {
        page.widen(head, rows.clone(), stride, out);
    }
    let heads = widened.chunks_exact(count * stride);
    heads
        .map(|rows| MatRef::strided(rows, [count, dim], [stride, 1]))
        .collect()
}

/// Cumulative gates: of the query by head, and of each key by key and head.
struct Gates<'a> {
    own: &'a [f32],
    kept: &'a [f32],
    strides: [usize; 2],
}

impl Gates<'_> {
    /// Log decay from a key to the query.
    #[inline(always)]
    fn since(&self, key: usize, head: usize) -> f32 {
        self.own[head] - self.kept[key * self.strides[0] + head * self.strides[1]]
    }
}

/// Computes `scale q k + (own - kept)` by head and key, several keys at a time. `place` is the width of a row of
/// scores, the first column, and the number of keys.
struct Scores<'a> {
    scores: &'a mut [f32],
    place: [usize; 3],
    queries: &'a [&'a [f32]],
    keys: &'a [MatRef<'a>],
    scale: f32,
    gates: Gates<'a>,
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, LANES>(simd),
        }
    }
}

impl Scores<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) {
        let [width, begin, count] = self.place;
        let group = self.queries.len() / self.keys.len();
        for first in (0..count).step_by(TILE_OUTPUTS) {
            let tile = TILE_OUTPUTS.min(count - first);
            for (head, query) in self.queries.iter().enumerate() {
                let keys = &self.keys[head / group];
                // missing keys repeat the last one
                let weights = std::array::from_fn(|key| keys.row(first + key.min(tile - 1)));
                let [products] = simd.vectorize(Tile::<1, V> {
                    x: [query],
                    weights,
                });
                let scores = &mut self.scores[head * width + begin + first..][..tile];
                for (key, (score, product)) in scores.iter_mut().zip(products).enumerate() {
                    *score = product * self.scale + self.gates.since(first + key, head);
                }
            }
        }
    }
}

kernel! {
    /// Adds the weighted values of some keys to the sums of every head.
    fn add_weighted<'a>(
        sums: &'a mut [f32],
        values: &'a [MatRef<'a>],
        weights: &'a [f32],
        place: [usize; 3],
    ) {
        let [width, begin, count] = place;
        let dim = sums.len() / values.len();
        for row in 0..count {
            for (head, (sums, values)) in sums.chunks_exact_mut(dim).zip(values).enumerate() {
                let weight = weights[head * width + begin + row];
                for (sum, value) in sums.iter_mut().zip(values.row(row)) {
                    *sum += weight * value;
                }
            }
        }
    }
}
