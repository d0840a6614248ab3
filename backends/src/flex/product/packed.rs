//! Many rows: blocks of the weights are packed into panels that a tile of registers runs through.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::weights::Weights;
use crate::flex::matrix::{MatMut, MatRef};

/// Rows of weights in a block.
const DEPTH: usize = 256;
/// Columns of a block; with [`DEPTH`] rows it stays in the second cache.
const COLUMNS: usize = 512;
/// Rows of a tile at most, for 32 registers.
const TILE_ROWS: usize = 6;
/// Vectors of a tile's row.
const TILE_VECTORS: usize = 4;
/// Elements of a tile's row at most.
const WIDEST: usize = TILE_VECTORS * 16;

/// A line of the cache, so that a vector never lies in two of them.
#[derive(Debug, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Buffers of a task.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    widened: Vec<f32>,
    panels: Vec<Line>,
    rows: Vec<f32>,
}

/// `out += x W[:, first..]` with one chain of fused multiply-adds per element.
pub(super) fn packed<W: Weights>(
    out: &mut MatMut<'_>,
    x: MatRef<'_>,
    weights: W,
    first: usize,
    buffers: &mut Buffers,
) {
    pulp::Arch::new().dispatch(Blocks {
        out,
        x,
        weights,
        first,
        buffers,
    });
}

struct Blocks<'a, 'm, W> {
    out: &'a mut MatMut<'m>,
    x: MatRef<'a>,
    weights: W,
    first: usize,
    buffers: &'a mut Buffers,
}

impl<W: Weights> WithSimd for Blocks<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            x,
            weights,
            first,
            buffers,
        } = self;
        let [rows, cols] = out.shape();
        let [inner, _] = weights.shape();
        let width = TILE_VECTORS * S::F32_LANES;
        let most = match S::REGISTER_COUNT {
            32.. => TILE_ROWS,
            _ => TILE_ROWS / 3,
        };
        // tiles of nearly equal height
        let tile = rows.div_ceil(rows.div_ceil(most));
        pack_rows(&mut buffers.rows, x, [rows, inner], tile);

        for left in (0..cols).step_by(COLUMNS) {
            let right = cols.min(left + COLUMNS);
            for top in (0..inner).step_by(DEPTH) {
                let depth = DEPTH.min(inner - top);
                let from = (top..top + depth, first + left..first + right);
                pack_panels(buffers, weights, from, width);
                let panels: &[f32] = bytemuck::cast_slice(&buffers.panels);
                for row in (0..rows).step_by(tile) {
                    let height = tile.min(rows - row);
                    let lhs = &buffers.rows[row * inner + top * height..][..depth * height];
                    for (panel, rhs) in panels.chunks_exact(depth * width).enumerate() {
                        let start = left + panel * width;
                        let cols = start..right.min(start + width);
                        add_tile(simd, out, row..row + height, cols, lhs, rhs);
                    }
                }
            }
        }
    }
}

/// Tiles of `tile` rows one after the other, each with the elements of a column adjacent.
#[inline(always)]
fn pack_rows(packed: &mut Vec<f32>, x: MatRef<'_>, [rows, inner]: [usize; 2], tile: usize) {
    packed.resize(rows * inner, 0.0);
    for row in (0..rows).step_by(tile) {
        let height = tile.min(rows - row);
        let packed = &mut packed[row * inner..][..height * inner];
        for (k, packed) in packed.chunks_exact_mut(height).enumerate() {
            for (r, packed) in packed.iter_mut().enumerate() {
                *packed = x.at(row + r, k);
            }
        }
    }
}

/// Panels of `width` columns one after the other, each row by row; zeros beyond the last column.
#[inline(always)]
fn pack_panels<W: Weights>(
    buffers: &mut Buffers,
    weights: W,
    (rows, cols): (Range<usize>, Range<usize>),
    width: usize,
) {
    let Buffers {
        widened, panels, ..
    } = buffers;
    let depth = rows.len();
    let len = cols.len().div_ceil(width) * width * depth;
    panels.resize(len.div_ceil(16), Line([0.0; 16]));
    let panels: &mut [f32] = bytemuck::cast_slice_mut(panels);
    let panels = panels[..len].chunks_exact_mut(depth * width);
    if !weights.streams() {
        for (panel, start) in panels.zip(cols.clone().step_by(width)) {
            let count = width.min(cols.end - start);
            for (k, row) in rows.clone().enumerate() {
                panel[k * width + count..][..width - count].fill(0.0);
                for (c, value) in panel[k * width..][..count].iter_mut().enumerate() {
                    *value = weights.at(row, start + c);
                }
            }
        }
        return;
    }
    widened.resize(COLUMNS, 0.0);
    let mut panels: Vec<&mut [f32]> = panels.collect();
    for (k, row) in rows.enumerate() {
        let values = match weights.in_place(row, cols.clone()) {
            Some(values) => values,
            None => {
                weights.widen(row, cols.clone(), &mut widened[..cols.len()]);
                &widened[..cols.len()]
            }
        };
        for (panel, values) in panels.iter_mut().zip(values.chunks(width)) {
            let to = &mut panel[k * width..][..width];
            if values.len() == width {
                to.copy_from_slice(values);
            } else {
                to[..values.len()].copy_from_slice(values);
                to[values.len()..].fill(0.0);
            }
        }
    }
}

/// A tile of the output with the rows of one packed tile and the columns of one panel.
#[inline(always)]
fn add_tile<S: Simd>(
    simd: S,
    out: &mut MatMut<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    lhs: &[f32],
    rhs: &[f32],
) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            match rows.len() {
                $($height => add_rows::<S, $height>(simd, out.rows_from(rows.start, cols), lhs, rhs),)*
                height => unreachable!("{height} rows, more than {TILE_ROWS}"),
            }
        };
    }
    by_height!(1 2 3 4 5 6);
}

#[inline(always)]
fn add_rows<S: Simd, const R: usize>(simd: S, mut out: [&mut [f32]; R], lhs: &[f32], rhs: &[f32]) {
    let width = TILE_VECTORS * S::F32_LANES;
    if out[0].len() == width {
        return simd.vectorize(AddTile { out, lhs, rhs });
    }
    // at the right edge: whole vectors elsewhere
    let mut whole = [[0.0; WIDEST]; R];
    for (whole, out) in whole.iter_mut().zip(&out) {
        whole[..out.len()].copy_from_slice(out);
    }
    simd.vectorize(AddTile {
        out: whole.each_mut().map(|row| &mut row[..width]),
        lhs,
        rhs,
    });
    for (whole, out) in whole.iter().zip(&mut out) {
        out.copy_from_slice(&whole[..out.len()]);
    }
}

/// `out += lhs rhs` for `R` rows of [`TILE_VECTORS`] vectors.
struct AddTile<'a, const R: usize> {
    out: [&'a mut [f32]; R],
    lhs: &'a [f32],
    rhs: &'a [f32],
}

impl<const R: usize> WithSimd for AddTile<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, lhs, rhs } = self;
        let mut sums = [[simd.splat_f32s(0.0); TILE_VECTORS]; R];
        for (sums, out) in sums.iter_mut().zip(&out) {
            sums.copy_from_slice(S::as_simd_f32s(out).0);
        }
        let (rhs, _) = S::as_simd_f32s(rhs);
        for (lhs, rhs) in lhs.chunks_exact(R).zip(rhs.chunks_exact(TILE_VECTORS)) {
            for r in 0..R {
                let x = simd.splat_f32s(lhs[r]);
                for v in 0..TILE_VECTORS {
                    sums[r][v] = simd.mul_add_f32s(x, rhs[v], sums[r][v]);
                }
            }
        }
        for (out, sums) in out.into_iter().zip(&sums) {
            S::as_mut_simd_f32s(out).0.copy_from_slice(sums);
        }
    }
}
