//! Pages in memory, and conversion of their rows to f32.

use std::ops::Range;

use burn_flex::Flex;

use super::{BlockRows, Page};
use crate::flex::matrix::MatRef;
use crate::flex::product::{Element, Weights};
use crate::flex::rows::{View, stored};
use crate::quantized::flex::Packed;

use burn::tensor::{DType, bf16, f16};

/// A page in memory.
pub(crate) enum Rows {
    F32(View<3>),
    Bf16(View<3>),
    F16(View<3>),
    /// Quantized rows, and their width.
    Blocks(Packed<3>, usize),
}

impl Rows {
    /// `None` if the kernels do not support the format.
    pub(crate) fn of(page: &Page<Flex>) -> Option<Self> {
        match page {
            Page::Numbers(rows) if !stored(rows.dtype()) => None,
            Page::Numbers(rows) => {
                let dtype = rows.dtype();
                let view = View::rows(rows.clone());
                Some(match dtype {
                    DType::BF16 => Self::Bf16(view),
                    DType::F16 => Self::F16(view),
                    _ => Self::F32(view),
                })
            }
            Page::Blocks(BlockRows { blocks, dim }) => {
                Packed::new(blocks).map(|packed| Self::Blocks(packed, *dim))
            }
        }
    }

    /// Number of key heads, and width of a row.
    pub(crate) fn width(&self) -> [usize; 2] {
        let [_, heads, dim] = match self {
            Self::F32(view) | Self::Bf16(view) | Self::F16(view) => view.shape(),
            Self::Blocks(packed, dim) => {
                let [len, heads, _] = packed.shape();
                [len, heads, *dim]
            }
        };
        [heads, dim]
    }

    /// Columns `0..dim` of some rows of a head, in place, if they are stored as f32.
    pub(crate) fn in_place(
        &self,
        head: usize,
        rows: Range<usize>,
        dim: usize,
    ) -> Option<MatRef<'_>> {
        match self {
            Self::F32(page) => Some(matrix_of(page, head, rows, dim)),
            _ => None,
        }
    }

    /// Converts some rows of a head to f32, in rows of `out` that are `stride` apart: a multiple of 32, at least the
    /// width.
    pub(crate) fn widen(&self, head: usize, rows: Range<usize>, stride: usize, out: &mut [f32]) {
        match self {
            Self::F32(page) => widen_numbers::<f32>(page, head, rows, stride, out),
            Self::Bf16(page) => widen_numbers::<bf16>(page, head, rows, stride, out),
            Self::F16(page) => widen_numbers::<f16>(page, head, rows, stride, out),
            Self::Blocks(page, _) => {
                let [_, heads, width] = page.shape();
                let blocks = page.rows_of_eight_bits();
                for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
                    blocks.widen(row * heads + head, 0..width, &mut out[..width]);
                }
            }
        }
    }
}

fn widen_numbers<E: Element>(
    page: &View<3>,
    head: usize,
    rows: Range<usize>,
    stride: usize,
    out: &mut [f32],
) {
    let [_, _, dim] = page.shape();
    let matrix = matrix_of::<E>(page, head, rows, dim);
    for (row, out) in out
        .chunks_exact_mut(stride)
        .enumerate()
        .take(matrix.shape()[0])
    {
        matrix.widen(row, 0..dim, &mut out[..dim]);
    }
}

fn matrix_of<E: Element>(
    page: &View<3>,
    head: usize,
    rows: Range<usize>,
    dim: usize,
) -> MatRef<'_, E> {
    let start = rows.start * page.stride(0) + head * page.stride(1);
    MatRef::strided(
        &page.data_of()[start..],
        [rows.len(), dim],
        [page.stride(0), 1],
    )
}
