//! Products of few rows: one pass over the weights, several rows of them at once, with sums in the first-level
//! cache.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Part;
use super::packed::Buffers;
use super::weights::{IN_FLIGHT, Outcome, Weights};
use crate::flex::ahead;
use crate::flex::matrix::{MatMut, MatRef, Update};
use crate::flex::prefetch::{Cache, prefetch};

/// Maximum number of input rows per pass.
pub(crate) const ROWS: usize = 8;
/// Maximum number of columns per task for one row; their sums stay in the first-level cache.
pub(super) const COLUMNS: usize = 4096;
/// Number of columns converted to f32 at once.
const WIDENED: usize = 256;

/// `out = x W[:, first..]`, or adds it to `out`, with one chain of fused multiply-adds per element.
pub(super) fn stream<W: Weights>(out: &mut MatMut<'_>, part: Part<'_, W>, buffers: &mut Buffers) {
    let cols = part.first..part.first + out.shape()[1];
    ahead::reading(|| part.weights.region(cols));
    match out.shape()[0] {
        1 => rows::<W, 1, 8>(out, part, buffers),
        2 => rows::<W, 2, 4>(out, part, buffers),
        3 => rows::<W, 3, 4>(out, part, buffers),
        4 => rows::<W, 4, 4>(out, part, buffers),
        5 => rows::<W, 5, 4>(out, part, buffers),
        6 => rows::<W, 6, 4>(out, part, buffers),
        7 => rows::<W, 7, 4>(out, part, buffers),
        8 => rows::<W, 8, 4>(out, part, buffers),
        count => unreachable!("{count} rows, more than {ROWS}"),
    }
}

fn rows<W: Weights, const R: usize, const K: usize>(
    out: &mut MatMut<'_>,
    part: Part<'_, W>,
    buffers: &mut Buffers,
) {
    let Part {
        update,
        x,
        weights,
        first,
    } = part;
    let cols = out.shape()[1];
    let mut out = out.rows_from::<R>(0, 0..cols);
    // Rows of `out` are often a multiple of 4 KiB apart, so that reads alias with recent writes, and their vectors
    // cross cache lines. Sums are therefore kept in aligned buffers.
    let mut sums = buffers.aligned_rows::<R>(cols);
    for (sums, out) in sums.iter_mut().zip(&out) {
        match update {
            Update::Set => sums.fill(0.0),
            Update::Add => sums.copy_from_slice(out),
        }
    }
    let mut copy = Vec::new();
    let all = first..first + cols;
    if weights.add(&mut sums, adjacent(x, &mut copy), all) == Outcome::NotThisWay {
        pulp::Arch::new().dispatch(Rows::<W, R, K> {
            sums: sums.each_mut().map(|sums| &mut **sums),
            x,
            weights,
            first,
        });
    }
    for (out, sums) in out.iter_mut().zip(&sums) {
        out.copy_from_slice(sums);
    }
}

/// The rows of `x`, copied if they are not contiguous.
fn adjacent<'a, const R: usize>(x: MatRef<'a>, copy: &'a mut Vec<f32>) -> [&'a [f32]; R] {
    if x.has_adjacent_columns() {
        return std::array::from_fn(|r| x.row(r));
    }
    let [rows, inner] = x.shape();
    copy.extend((0..rows * inner).map(|at| x.at(at / inner, at % inner)));
    std::array::from_fn(|r| &copy[r * inner..][..inner])
}

/// All rows of the weights, `K` at a time.
struct Rows<'a, W, const R: usize, const K: usize> {
    sums: [&'a mut [f32]; R],
    x: MatRef<'a>,
    weights: W,
    first: usize,
}

impl<W: Weights, const R: usize, const K: usize> WithSimd for Rows<'_, W, R, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [inner, _] = self.weights.shape();
        let whole = inner / K * K;
        let Aligned(widened) = &mut Aligned([0.0; IN_FLIGHT * WIDENED]);
        for row in (0..whole).step_by(K) {
            self.add::<S, K>(simd, row, widened);
        }
        for row in whole..inner {
            self.add::<S, 1>(simd, row, widened);
        }
    }
}

impl<W: Weights, const R: usize, const K: usize> Rows<'_, W, R, K> {
    /// Adds the contributions of `N` weight rows.
    #[inline(always)]
    fn add<S: Simd, const N: usize>(&mut self, simd: S, row: usize, widened: &mut [f32]) {
        let Self {
            sums,
            x: input,
            weights,
            first,
        } = self;
        let mut x = [[0.0; N]; R];
        for (r, x) in x.iter_mut().enumerate() {
            for (k, x) in x.iter_mut().enumerate() {
                *x = input.at(r, row + k);
            }
        }
        let cols = sums[0].len();
        let mut in_place: [&[f32]; N] = [&[]; N];
        let mut fetch = Fetch::Nothing;
        for (k, in_place) in in_place.iter_mut().enumerate() {
            if let Some(row) = weights.in_place(row + k, *first..*first + cols) {
                *in_place = row;
                fetch = Fetch::Next;
            }
        }
        if fetch == Fetch::Next {
            return accumulate(simd, sums, &x, in_place, 0..cols, fetch);
        }
        for start in (0..cols).step_by(WIDENED) {
            let len = WIDENED.min(cols - start);
            for (k, out) in widened.chunks_exact_mut(WIDENED).enumerate().take(N) {
                let cols = *first + start..*first + start + len;
                weights.widen(row + k, cols.clone(), &mut out[..len]);
                weights.fetch(row + N + k, cols);
            }
            let mut rows: [&[f32]; N] = [&[]; N];
            for (rows, widened) in rows.iter_mut().zip(widened.chunks_exact(WIDENED)) {
                *rows = &widened[..len];
            }
            accumulate(simd, sums, &x, rows, start..start + len, fetch);
        }
    }
}

/// Aligned, so that vectors do not cross cache lines.
#[repr(align(64))]
struct Aligned([f32; IN_FLIGHT * WIDENED]);

/// Prefetching of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    /// None: the weights are in a cache.
    Nothing,
    /// The next rows of the matrix, since a row's columns are too few for the hardware prefetcher.
    Next,
}

/// Bytes from one row to the next.
#[inline(always)]
fn distance<T>(first: &[T], second: &[T]) -> usize {
    (second.as_ptr() as usize).wrapping_sub(first.as_ptr() as usize)
}

/// `sums[r][cols] += sum_k x[r][k] weights[k]`, in the order of `k`.
#[inline(always)]
fn accumulate<S: Simd, const R: usize, const K: usize>(
    simd: S,
    sums: &mut [&mut [f32]; R],
    x: &[[f32; K]; R],
    weights: [&[f32]; K],
    cols: Range<usize>,
    fetch: Fetch,
) {
    // loops, since closures that use `simd` are not compiled for the instruction set of `S`
    let mut factors = [[simd.splat_f32s(0.0); K]; R];
    for (factors, x) in factors.iter_mut().zip(x) {
        for (factor, x) in factors.iter_mut().zip(x) {
            *factor = simd.splat_f32s(*x);
        }
    }
    let whole = cols.len() / S::F32_LANES * S::F32_LANES;
    let mut rows: [&[S::f32s]; K] = [&[]; K];
    for (row, weights) in rows.iter_mut().zip(weights) {
        *row = S::as_simd_f32s(&weights[..whole]).0;
    }
    let mut halves = sums
        .each_mut()
        .map(|sums| sums[cols.clone()].split_at_mut(whole));
    let totals = halves.each_mut().map(|half| S::as_mut_simd_f32s(half.0).0);
    let len = whole / S::F32_LANES;
    for row in &rows {
        assert_eq!(row.len(), len);
    }
    for row in &totals {
        assert_eq!(row.len(), len);
    }
    let ahead = match (fetch, &rows[..]) {
        (Fetch::Next, [first, second, ..]) => K * distance(first, second),
        _ => 0,
    };
    let mut vectors = [simd.splat_f32s(0.0); K];
    for at in 0..len {
        for k in 0..K {
            if ahead > 0 {
                let next = std::ptr::from_ref(&rows[k][at]).addr().wrapping_add(ahead);
                prefetch(Cache::Nearest, next);
            }
            vectors[k] = rows[k][at];
        }
        for r in 0..R {
            totals[r][at] = chain(simd, &factors[r], &vectors, totals[r][at]);
        }
    }
    if !halves[0].1.is_empty() {
        for k in 0..K {
            vectors[k] = simd.partial_load_f32s(&weights[k][whole..]);
        }
        for (factors, (_, rest)) in factors.iter().zip(halves) {
            let total = chain(simd, factors, &vectors, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, total);
        }
    }
}

/// `sum + factors[0] vectors[0] + factors[1] vectors[1] + ...`.
#[inline(always)]
fn chain<S: Simd, const K: usize>(
    simd: S,
    factors: &[S::f32s; K],
    vectors: &[S::f32s; K],
    mut sum: S::f32s,
) -> S::f32s {
    for k in 0..K {
        sum = simd.mul_add_f32s(factors[k], vectors[k], sum);
    }
    sum
}
