//! Products of many rows: blocks of the weights are packed into panels for register tiles.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Part;
use super::weights::Weights;
use crate::flex::matrix::{MatMut, MatRef, Update};

/// Weight rows per block; a panel of this depth stays in the first-level cache while all input rows are processed.
const DEPTH: usize = 256;
/// Columns per block; with [`DEPTH`] rows it stays in the second-level cache, beside the input rows.
const COLUMNS: usize = 256;
/// Maximum number of rows per register tile, for 32 registers.
pub(super) const TILE_ROWS: usize = 12;
/// Vectors per row of a register tile.
const TILE_VECTORS: usize = 2;
/// Maximum number of elements per row of a register tile.
const WIDEST: usize = TILE_VECTORS * 16;

/// A cache line, so that vectors do not cross lines.
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

impl Buffers {
    /// `R` rows of `width` elements, each starting at a cache line.
    pub(super) fn aligned_rows<const R: usize>(&mut self, width: usize) -> [&mut [f32]; R] {
        // an odd number of lines per row, so that no two rows start at the same offset within a page
        let stride = width.div_ceil(16) | 1;
        self.panels
            .resize(self.panels.len().max(R * stride), Line([0.0; 16]));
        let mut rows = self.panels.chunks_exact_mut(stride);
        std::array::from_fn(|_| {
            let row = rows.next().expect("there are so many");
            &mut bytemuck::cast_slice_mut(row)[..width]
        })
    }
}

/// `out = x W[:, first..]`, or adds it to `out`, with one chain of fused multiply-adds per element.
pub(super) fn packed<W: Weights>(out: &mut MatMut<'_>, part: Part<'_, W>, buffers: &mut Buffers) {
    pulp::Arch::new().dispatch(Blocks { out, part, buffers });
}

struct Blocks<'a, 'm, W> {
    out: &'a mut MatMut<'m>,
    part: Part<'a, W>,
    buffers: &'a mut Buffers,
}

impl<W: Weights> WithSimd for Blocks<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, part, buffers } = self;
        let Part {
            update,
            x,
            weights,
            first,
        } = part;
        let [rows, cols] = out.shape();
        let [inner, _] = weights.shape();
        let width = TILE_VECTORS * S::F32_LANES;
        let most = match S::REGISTER_COUNT {
            32.. => TILE_ROWS,
            _ => TILE_ROWS / 2,
        };
        // register tiles of nearly equal height
        let tile = rows.div_ceil(rows.div_ceil(most));
        pack_rows(&mut buffers.rows, x, [rows, inner], tile);

        for left in (0..cols).step_by(COLUMNS) {
            let right = cols.min(left + COLUMNS);
            for top in (0..inner).step_by(DEPTH) {
                let depth = DEPTH.min(inner - top);
                let update = match top {
                    0 => update,
                    _ => Update::Add,
                };
                let from = (top..top + depth, first + left..first + right);
                pack_panels(buffers, weights, from, width);
                let panels: &[f32] = bytemuck::cast_slice(&buffers.panels);
                let starts = (left..right).step_by(width);
                for (start, rhs) in starts.zip(panels.chunks_exact(depth * width)) {
                    let cols = start..right.min(start + width);
                    for row in (0..rows).step_by(tile) {
                        let height = tile.min(rows - row);
                        let lhs = &buffers.rows[row * inner + top * height..][..depth * height];
                        let out = (&mut *out, update);
                        add_tile(simd, out, row..row + height, cols.clone(), lhs, rhs);
                    }
                }
            }
        }
    }
}

/// Packs rows into tiles of `tile` rows, in which the elements of a column are contiguous.
#[inline(always)]
fn pack_rows(packed: &mut Vec<f32>, x: MatRef<'_>, [rows, inner]: [usize; 2], tile: usize) {
    packed.resize(rows * inner, 0.0);
    for row in (0..rows).step_by(tile) {
        let height = tile.min(rows - row);
        let packed = &mut packed[row * inner..][..height * inner];
        for r in 0..height {
            let column = packed.iter_mut().skip(r).step_by(height);
            if x.has_adjacent_columns() {
                column.zip(x.row(row + r)).for_each(|(to, x)| *to = *x)
            } else {
                column
                    .enumerate()
                    .for_each(|(k, to)| *to = x.at(row + r, k))
            }
        }
    }
}

/// Packs weights into panels of `width` columns, row by row, padded with zeros.
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

/// Computes one register tile of the output from a packed tile of rows and a panel.
#[inline(always)]
fn add_tile<S: Simd>(
    simd: S,
    (out, update): (&mut MatMut<'_>, Update),
    rows: Range<usize>,
    cols: Range<usize>,
    lhs: &[f32],
    rhs: &[f32],
) {
    macro_rules! by_height {
        ($($height:literal)*) => {
            match rows.len() {
                $($height => {
                    let out = out.rows_from(rows.start, cols);
                    add_rows::<S, $height>(simd, out, update, lhs, rhs)
                })*
                height => unreachable!("{height} rows, more than {TILE_ROWS}"),
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
}

#[inline(always)]
fn add_rows<S: Simd, const R: usize>(
    simd: S,
    mut out: [&mut [f32]; R],
    update: Update,
    lhs: &[f32],
    rhs: &[f32],
) {
    let width = TILE_VECTORS * S::F32_LANES;
    if out[0].len() == width {
        return simd.vectorize(AddTile {
            out,
            update,
            lhs,
            rhs,
        });
    }
    // at the right edge: whole vectors in a temporary tile
    let mut whole = [[0.0; WIDEST]; R];
    for (whole, out) in whole.iter_mut().zip(&out) {
        whole[..out.len()].copy_from_slice(out);
    }
    simd.vectorize(AddTile {
        out: whole.each_mut().map(|row| &mut row[..width]),
        update,
        lhs,
        rhs,
    });
    for (whole, out) in whole.iter().zip(&mut out) {
        out.copy_from_slice(&whole[..out.len()]);
    }
}

/// `out = lhs rhs`, or adds it to `out`, for `R` rows of [`TILE_VECTORS`] vectors.
struct AddTile<'a, const R: usize> {
    out: [&'a mut [f32]; R],
    update: Update,
    lhs: &'a [f32],
    rhs: &'a [f32],
}

impl<const R: usize> WithSimd for AddTile<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            out,
            update,
            lhs,
            rhs,
        } = self;
        let mut sums = [[simd.splat_f32s(0.0); TILE_VECTORS]; R];
        if update == Update::Add {
            for (sums, out) in sums.iter_mut().zip(&out) {
                sums.copy_from_slice(S::as_simd_f32s(out).0);
            }
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
