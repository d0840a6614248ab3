//! Products with weights `[out, in]`: dot products in sixteen partial sums, added by pairwise halving.
//!
//! Partial sum `l` is a chain of fused multiply-adds over the elements `l, l + 16, l + 32, ...`, so the order of
//! summation depends on the width `in` alone.

use super::weights::Element;
use crate::flex::ahead;
use crate::flex::matrix::{MatMut, MatRef, Threads};
use crate::flex::team;
use pulp::{Simd, WithSimd};

/// Number of partial sums of a dot product.
pub(crate) const LANES: usize = 16;
/// Number of weight rows that stay in the second-level cache while all input rows are processed.
const OUTPUTS: usize = 64;
/// Weight rows per register tile.
pub(crate) const TILE_OUTPUTS: usize = 4;
/// Maximum number of input rows per register tile, for 32 registers.
const TILE_ROWS: usize = 5;

/// `x W^T` in a new buffer.
///
/// # Panics
///
/// If the shapes do not fit or rows are not contiguous.
pub(crate) fn dots<E: Element>(
    x: MatRef<'_>,
    weights: MatRef<'_, E>,
    threads: Threads,
) -> Vec<f32> {
    let ([rows, inner], [cols, _]) = (x.shape(), weights.shape());
    assert_eq!(weights.shape()[1], inner);
    assert!(x.has_adjacent_columns() && weights.has_adjacent_columns());
    let mut out = vec![0.0; rows * cols];
    if rows == 0 || cols == 0 || inner == 0 {
        return out;
    }
    let work = |widened: &mut Vec<f32>, ([_, first], mut out): ([usize; 2], MatMut<'_>)| {
        let cols = out.shape()[1];
        dots_block(&mut out, x, weights.rows(first..first + cols), widened);
    };
    let tasks = MatMut::new(&mut out, [rows, cols]).split_blocks(rows, OUTPUTS);
    let worth = super::threads_worth(rows * inner * cols) > 1;
    if threads == Threads::All && worth {
        team::each(tasks, Vec::new, work)
    } else {
        let mut widened = Vec::new();
        tasks.into_iter().for_each(|task| work(&mut widened, task));
    }
    out
}

/// `out = x W^T` on the calling thread; `widened` is a buffer for weights that are not f32.
pub(crate) fn dots_block<E: Element>(
    out: &mut MatMut<'_>,
    x: MatRef<'_>,
    weights: MatRef<'_, E>,
    widened: &mut Vec<f32>,
) {
    ahead::reading(|| weights.region());
    pulp::Arch::new().dispatch(Dots {
        out,
        x,
        weights,
        widened,
    });
}

struct Dots<'a, 'm, E> {
    out: &'a mut MatMut<'m>,
    x: MatRef<'a>,
    weights: MatRef<'a, E>,
    widened: &'a mut Vec<f32>,
}

impl<E: Element> WithSimd for Dots<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => run::<S, E, 1>(simd, self),
            2 => run::<S, E, 2>(simd, self),
            4 => run::<S, E, 4>(simd, self),
            _ => run::<S, E, 16>(simd, self),
        }
    }
}

#[inline(always)]
fn run<S: Simd, E: Element, const V: usize>(simd: S, task: Dots<'_, '_, E>) {
    let Dots {
        out,
        x,
        weights,
        widened,
    } = task;
    let [rows, outputs] = out.shape();
    let inner = weights.shape()[1];
    let tile = match S::REGISTER_COUNT / V {
        32.. => TILE_ROWS,
        _ => 1,
    };
    for start in (0..outputs).step_by(TILE_OUTPUTS) {
        let count = TILE_OUTPUTS.min(outputs - start);
        let in_place = size_of::<E>() == size_of::<f32>();
        if !in_place {
            widened.resize(TILE_OUTPUTS * inner, 0.0);
            for (o, widened) in widened.chunks_exact_mut(inner).enumerate().take(count) {
                let row = weights.row(start + o);
                for (widened, value) in widened.iter_mut().zip(row) {
                    *widened = value.widen();
                }
            }
        }
        // missing rows repeat the last one
        let row = |o: usize| {
            let o = o.min(count - 1);
            if in_place {
                bytemuck::cast_slice(weights.row(start + o))
            } else {
                &widened[o * inner..][..inner]
            }
        };
        let weights: [&[f32]; TILE_OUTPUTS] = std::array::from_fn(row);
        for top in (0..rows).step_by(tile) {
            let height = tile.min(rows - top);
            macro_rules! by_height {
                ($($height:literal)*) => {
                    match height {
                        $($height => {
                            let x = std::array::from_fn(|r| x.row(top + r));
                            let tile = simd.vectorize(Tile::<$height, V> { x, weights });
                            for (r, values) in tile.iter().enumerate() {
                                out.row(top + r)[start..start + count]
                                    .copy_from_slice(&values[..count]);
                            }
                        })*
                        height => unreachable!("{height} rows, more than {TILE_ROWS}"),
                    }
                };
            }
            by_height!(1 2 3 4 5);
        }
    }
}

/// Dot products of `R` input rows and some weight rows; `V` vectors hold [`LANES`] partial sums.
pub(crate) struct Tile<'a, const R: usize, const V: usize> {
    pub(crate) x: [&'a [f32]; R],
    pub(crate) weights: [&'a [f32]; TILE_OUTPUTS],
}

impl<const R: usize, const V: usize> WithSimd for Tile<'_, R, V> {
    type Output = [[f32; TILE_OUTPUTS]; R];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { x, weights } = self;
        let inner = x[0].len();
        let whole = inner / LANES * LANES;
        let mut sums = [[[simd.splat_f32s(0.0); V]; TILE_OUTPUTS]; R];
        let mut a: [&[S::f32s]; R] = [&[]; R];
        for (a, row) in a.iter_mut().zip(x) {
            *a = &S::as_simd_f32s(&row[..whole]).0[..whole / S::F32_LANES];
        }
        let mut w: [&[S::f32s]; TILE_OUTPUTS] = [&[]; TILE_OUTPUTS];
        for (w, row) in w.iter_mut().zip(weights) {
            *w = &S::as_simd_f32s(&row[..whole]).0[..whole / S::F32_LANES];
        }
        for at in 0..whole / LANES {
            for v in 0..V {
                let mut w_vectors = [simd.splat_f32s(0.0); TILE_OUTPUTS];
                for o in 0..TILE_OUTPUTS {
                    w_vectors[o] = w[o][at * V + v];
                }
                for r in 0..R {
                    let x = a[r][at * V + v];
                    for o in 0..TILE_OUTPUTS {
                        sums[r][o][v] = simd.mul_add_f32s(x, w_vectors[o], sums[r][o][v]);
                    }
                }
            }
        }
        if whole < inner {
            for (x, sums) in x.iter().zip(&mut sums) {
                for (weights, sums) in weights.iter().zip(sums) {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        let (a, w) = (&x[whole..], &weights[whole..]);
                        *sum = simd.mul_add_f32s(part(simd, a, v), part(simd, w, v), *sum);
                    }
                }
            }
        }
        let mut totals = [[0.0; TILE_OUTPUTS]; R];
        for (totals, sums) in totals.iter_mut().zip(&sums) {
            for (value, sums) in totals.iter_mut().zip(sums) {
                *value = total(bytemuck::cast_slice(sums));
            }
        }
        totals
    }
}

/// Vector `v` of the remainder of a row.
#[inline(always)]
fn part<S: Simd>(simd: S, rest: &[f32], v: usize) -> S::f32s {
    let start = (v * S::F32_LANES).min(rest.len());
    let end = ((v + 1) * S::F32_LANES).min(rest.len());
    simd.partial_load_f32s(&rest[start..end])
}

/// Sum of the lanes, by pairwise halving.
#[inline(always)]
fn total(lanes: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    sums.copy_from_slice(lanes);
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}
