//! A softmax in parts: what each part leaves, and how two are put together.

use std::ops::Range;

use crate::flex::simd::{exp, kernel, max, sum};

/// Scores that are worked on at once.
const LANES: usize = 32;

/// For every query the largest score, the sum of `e^(score - largest)` and the values weighed by these.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) largest: Vec<f32>,
    pub(crate) sums: Vec<f32>,
    /// `[queries, value_dim]`.
    pub(crate) outputs: Vec<f32>,
}

impl Part {
    /// Of no key.
    pub(crate) fn empty(queries: usize, value_dim: usize) -> Self {
        Self {
            largest: vec![f32::NEG_INFINITY; queries],
            sums: vec![0.0; queries],
            outputs: vec![0.0; queries * value_dim],
        }
    }

    /// Of no key, for so many queries.
    pub(crate) fn clear(&mut self, queries: usize) {
        let value_dim = self.outputs.len() / self.sums.len().max(1);
        self.largest.clear();
        self.largest.resize(queries, f32::NEG_INFINITY);
        self.sums.clear();
        self.sums.resize(queries, 0.0);
        self.outputs.clear();
        self.outputs.resize(queries * value_dim, 0.0);
    }

    /// Appends the keys of `next`, whose queries are those from `first` on.
    pub(crate) fn append(&mut self, first: usize, next: &Self) {
        let value_dim = self.outputs.len() / self.sums.len().max(1);
        for (at, query) in (first..).take(next.sums.len()).enumerate() {
            // a part in which a query sees nothing changes nothing, to the bit
            if next.sums[at] == 0.0 {
                continue;
            }
            let own = query * value_dim..(query + 1) * value_dim;
            let largest = self.largest[query].max(next.largest[at]);
            let [keep, add] =
                [self.largest[query], next.largest[at]].map(|part| exp(part - largest));
            self.largest[query] = largest;
            self.sums[query] = self.sums[query] * keep + next.sums[at] * add;
            let next = &next.outputs[at * value_dim..][..value_dim];
            combine(&mut self.outputs[own], keep, next, add);
        }
    }
}

kernel! {
    fn combine<'a>(out: &'a mut [f32], keep: f32, next: &'a [f32], add: f32) {
        for (out, next) in out.iter_mut().zip(next) {
            *out = *out * keep + next * add;
        }
    }
}

kernel! {
    /// Scores become `e^(scale score - largest)`, zero where not seen; the largest, and their sum.
    ///
    /// The number of scores is a multiple of 32, so that a sum's order does not depend on keys not seen.
    pub(crate) fn exponentials<'a>(scores: &'a mut [f32], seen: Range<usize>, scale: f32) -> [f32; 2] {
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        if seen.is_empty() {
            scores.fill(0.0);
            return [f32::NEG_INFINITY, 0.0];
        }
        // a factor on minus infinity leaves it as it is
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (blocks, _) = scores.as_chunks_mut::<LANES>();
        for block in blocks.iter_mut() {
            for (lane, score) in lanes.iter_mut().zip(block) {
                *score *= scale;
                *lane = if *score > *lane { *score } else { *lane };
            }
        }
        let largest = max(&lanes);
        let mut lanes = [0.0; LANES];
        for block in blocks {
            for (lane, score) in lanes.iter_mut().zip(block) {
                *score = exp(*score - largest);
                *lane += *score;
            }
        }
        [largest, sum(&lanes, |lane| lane)]
    }
}
