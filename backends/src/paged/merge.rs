//! Partial softmaxes and their merging.

use std::ops::Range;

use crate::flex::simd::{exp, kernel, max, sum};

/// Number of scores that are processed at once.
const LANES: usize = 32;

/// Partial softmax of every query: largest score, sum of `e^(score - largest)`, and the values weighted by these.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) largest: Vec<f32>,
    pub(crate) sums: Vec<f32>,
    /// `[queries, value_dim]`.
    pub(crate) outputs: Vec<f32>,
}

impl Part {
    /// Partial softmax over no keys.
    pub(crate) fn empty(queries: usize, value_dim: usize) -> Self {
        Self {
            largest: vec![f32::NEG_INFINITY; queries],
            sums: vec![0.0; queries],
            outputs: vec![0.0; queries * value_dim],
        }
    }

    /// Resets to no keys, for the given number of queries.
    pub(crate) fn clear(&mut self, queries: usize) {
        let value_dim = self.outputs.len() / self.sums.len().max(1);
        self.largest.clear();
        self.largest.resize(queries, f32::NEG_INFINITY);
        self.sums.clear();
        self.sums.resize(queries, 0.0);
        self.outputs.clear();
        self.outputs.resize(queries * value_dim, 0.0);
    }

    /// Merges the partial softmax of later keys, whose queries start at `first`.
    pub(crate) fn append(&mut self, first: usize, next: &Self) {
        let value_dim = self.outputs.len() / self.sums.len().max(1);
        for (at, query) in (first..).take(next.sums.len()).enumerate() {
            // a part in which a query sees nothing is skipped, so that no bit changes
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
    /// Replaces scores by `e^(scale score - largest)`, zero where not seen. Returns the largest score and the sum.
    ///
    /// The number of scores is a multiple of 32, so that the order of the sum does not depend on unseen keys.
    pub(crate) fn exponentials<'a>(scores: &'a mut [f32], seen: Range<usize>, scale: f32) -> [f32; 2] {
        scores[..seen.start].fill(f32::NEG_INFINITY);
        scores[seen.end..].fill(f32::NEG_INFINITY);
        if seen.is_empty() {
            scores.fill(0.0);
            return [f32::NEG_INFINITY, 0.0];
        }
        // scaling minus infinity leaves it unchanged
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
