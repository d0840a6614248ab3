//! A softmax in parts: what each part leaves, and how two are put together.

use std::ops::Range;

use crate::flex::simd::{exp, kernel, max, sum};

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

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        self.largest.fill(f32::NEG_INFINITY);
        self.sums.fill(0.0);
        self.outputs.fill(0.0);
    }

    /// Appends the keys of `next`.
    pub(crate) fn append(&mut self, next: &Self) {
        let value_dim = self.outputs.len() / self.sums.len().max(1);
        for query in 0..self.sums.len() {
            // a part in which a query sees nothing changes nothing, to the bit
            if next.sums[query] == 0.0 {
                continue;
            }
            let own = query * value_dim..(query + 1) * value_dim;
            let largest = self.largest[query].max(next.largest[query]);
            let [keep, add] =
                [self.largest[query], next.largest[query]].map(|part| exp(part - largest));
            self.largest[query] = largest;
            self.sums[query] = self.sums[query] * keep + next.sums[query] * add;
            combine(
                &mut self.outputs[own.clone()],
                keep,
                &next.outputs[own],
                add,
            );
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
        for score in scores[seen].iter_mut() {
            *score *= scale;
        }
        let largest = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - largest);
        }
        [largest, sum(scores, |score| score)]
    }
}
