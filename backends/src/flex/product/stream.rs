//! Few rows: one pass over the weights, several rows of them in flight, sums in the nearest cache.

use pulp::{Simd, WithSimd};

use super::weights::{IN_FLIGHT, Outcome, Weights};
use crate::flex::matrix::{MatMut, MatRef};

/// Rows of the input that one pass serves at most.
pub(super) const ROWS: usize = 8;
/// Columns of a task at most, for one row; their sums stay in the nearest cache.
pub(super) const COLUMNS: usize = 4096;
/// Columns that are widened at once.
const WIDENED: usize = 256;

/// `out += x W[:, first..]` with one chain of fused multiply-adds per element.
pub(super) fn stream<W: Weights>(out: &mut MatMut<'_>, x: MatRef<'_>, weights: W, first: usize) {
    match out.shape()[0] {
        1 => rows::<W, 1, 8>(out, x, weights, first),
        2 => rows::<W, 2, 4>(out, x, weights, first),
        3 => rows::<W, 3, 4>(out, x, weights, first),
        4 => rows::<W, 4, 4>(out, x, weights, first),
        5 => rows::<W, 5, 4>(out, x, weights, first),
        6 => rows::<W, 6, 4>(out, x, weights, first),
        7 => rows::<W, 7, 4>(out, x, weights, first),
        8 => rows::<W, 8, 4>(out, x, weights, first),
        count => unreachable!("{count} rows, more than {ROWS}"),
    }
}

fn rows<W: Weights, const R: usize, const K: usize>(
    out: &mut MatMut<'_>,
    x: MatRef<'_>,
    weights: W,
    first: usize,
) {
    let [inner, _] = weights.shape();
    let whole = inner / K * K;
    let Aligned(widened) = &mut Aligned([0.0; IN_FLIGHT * WIDENED]);
    for row in (0..whole).step_by(K) {
        step::<W, R, K>(out, x, weights, row, first, widened);
    }
    for row in whole..inner {
        step::<W, R, 1>(out, x, weights, row, first, widened);
    }
}

/// Vectors of it do not lie in two lines of the cache.
#[repr(align(64))]
struct Aligned([f32; IN_FLIGHT * WIDENED]);

/// Adds what `K` rows of weights contribute.
#[inline(always)]
fn step<W: Weights, const R: usize, const K: usize>(
    out: &mut MatMut<'_>,
    x: MatRef<'_>,
    weights: W,
    row: usize,
    first: usize,
    widened: &mut [f32],
) {
    let cols = out.shape()[1];
    let x = std::array::from_fn(|r| std::array::from_fn(|k| x.at(r, row + k)));
    let sums = out.rows_from::<R>(0, 0..cols);
    if weights.in_place(row, 0..0).is_some() {
        let weights = std::array::from_fn(|k| {
            let in_place = weights.in_place(row + k, first..first + cols);
            in_place.unwrap_or_default()
        });
        let fetch = Fetch::Next;
        pulp::Arch::new().dispatch(Accumulate::<R, K> {
            sums,
            x,
            weights,
            fetch,
        });
        return;
    }
    let mut sums = sums;
    if let ([sums], [x]) = (&mut sums[..], &x[..])
        && let Ok(x) = x[..].try_into()
        && weights.add_rows(sums, x, row, first..first + cols) == Outcome::Done
    {
        return;
    }
    pulp::Arch::new().dispatch(Widened {
        sums,
        x,
        weights,
        row,
        first,
        widened,
    });
}

/// As [`Accumulate`], with weights that become f32 piece by piece.
struct Widened<'a, W, const R: usize, const K: usize> {
    sums: [&'a mut [f32]; R],
    x: [[f32; K]; R],
    weights: W,
    row: usize,
    first: usize,
    widened: &'a mut [f32],
}

impl<W: Weights, const R: usize, const K: usize> WithSimd for Widened<'_, W, R, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            mut sums,
            x,
            weights,
            row,
            first,
            widened,
        } = self;
        let cols = sums[0].len();
        for start in (0..cols).step_by(WIDENED) {
            let len = WIDENED.min(cols - start);
            for (k, out) in widened.chunks_exact_mut(WIDENED).enumerate().take(K) {
                let cols = first + start..first + start + len;
                weights.widen(row + k, cols, &mut out[..len]);
            }
            let weights = std::array::from_fn(|k| &widened[k * WIDENED..][..len]);
            let sums = sums.each_mut().map(|sums| &mut sums[start..start + len]);
            let fetch = Fetch::Nothing;
            simd.vectorize(Accumulate::<R, K> {
                sums,
                x,
                weights,
                fetch,
            });
        }
    }
}

/// `sums[r] += sum_k x[r][k] weights[k]`, in the order of `k`.
struct Accumulate<'a, const R: usize, const K: usize> {
    sums: [&'a mut [f32]; R],
    x: [[f32; K]; R],
    weights: [&'a [f32]; K],
    fetch: Fetch,
}

/// What is asked of memory before it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    /// Nothing: the weights are in a cache.
    Nothing,
    /// The next rows of the matrix. A row's part is too short for the machine to see where it goes on.
    Next,
}

/// Bytes from one row to the next.
#[inline(always)]
fn distance<T>(first: &[T], second: &[T]) -> usize {
    (second.as_ptr() as usize).wrapping_sub(first.as_ptr() as usize)
}

/// Asks for the memory `ahead` bytes behind a value.
#[inline(always)]
#[allow(
    unsafe_code,
    reason = "a hint, which reads nothing, wherever it points"
)]
fn prefetch<T>(value: &T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching does not fault, and every x86-64 machine has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().wrapping_add(ahead));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, ahead);
}

impl<const R: usize, const K: usize> WithSimd for Accumulate<'_, R, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // loops, for what a closure calls of `simd` is not compiled for the instruction set of `S`
        let Self {
            sums,
            x,
            weights,
            fetch,
        } = self;
        let mut factors = [[simd.splat_f32s(0.0); K]; R];
        for (factors, x) in factors.iter_mut().zip(x) {
            for (factor, x) in factors.iter_mut().zip(x) {
                *factor = simd.splat_f32s(x);
            }
        }
        let whole = sums[0].len() / S::F32_LANES * S::F32_LANES;
        let mut rows: [&[S::f32s]; K] = [&[]; K];
        for (row, weights) in rows.iter_mut().zip(weights) {
            *row = S::as_simd_f32s(&weights[..whole]).0;
        }
        let mut halves = sums.map(|sums| sums.split_at_mut(whole));
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
                    prefetch(&rows[k][at], ahead);
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
