//! Strided views of matrices in memory, and their product through the `gemm` crate.
#![allow(
    unsafe_code,
    reason = "`gemm` takes raw pointers, and panels of columns of one buffer are written in parallel"
)]

use std::marker::PhantomData;
use std::ops::Range;

use gemm::Parallelism;

use super::ahead::Region;

/// How many threads a product may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling one.
    One,
    /// All of the current rayon pool.
    All,
}

/// What happens to the previous content of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// It is overwritten.
    Set,
    /// It is added to.
    Add,
}

/// A matrix to read, `element(i, j) = data[i * row_stride + j * col_stride]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatRef<'a, E = f32> {
    data: &'a [E],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, E: Copy> MatRef<'a, E> {
    /// # Panics
    ///
    /// When the last element lies outside of `data`.
    pub(crate) fn strided(data: &'a [E], shape: [usize; 2], strides: [usize; 2]) -> Self {
        let [rows, cols] = shape;
        let [row_stride, col_stride] = strides;
        if rows > 0 && cols > 0 {
            assert!((rows - 1) * row_stride + (cols - 1) * col_stride < data.len());
        }
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride,
        }
    }

    pub(crate) fn new(data: &'a [E], shape: [usize; 2]) -> Self {
        Self::strided(data, shape, [shape[1], 1])
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows);
        let start = (range.start * self.row_stride).min(self.data.len());
        Self {
            data: &self.data[start..],
            rows: range.len(),
            ..self
        }
    }

    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols);
        let start = (range.start * self.col_stride).min(self.data.len());
        Self {
            data: &self.data[start..],
            cols: range.len(),
            ..self
        }
    }

    pub(crate) fn shape(self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Where it lies, when the elements of a row are adjacent.
    pub(crate) fn region(self) -> Region {
        Region {
            start: self.data.as_ptr().addr(),
            width: self.cols * size_of::<E>(),
            stride: self.row_stride * size_of::<E>(),
            rows: self.rows,
        }
    }

    /// True when the elements of a row are adjacent.
    pub(crate) fn has_adjacent_columns(self) -> bool {
        self.col_stride == 1 || self.cols == 1
    }

    /// One row of a matrix whose columns are adjacent.
    #[inline(always)]
    pub(crate) fn row(self, index: usize) -> &'a [E] {
        debug_assert!(self.has_adjacent_columns());
        let start = index * self.row_stride;
        &self.data[start..start + self.cols]
    }

    #[inline(always)]
    pub(crate) fn at(self, row: usize, col: usize) -> E {
        self.data[row * self.row_stride + col * self.col_stride]
    }
}

/// A matrix to write. The elements of a row are adjacent.
#[derive(Debug)]
pub(crate) struct MatMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatMut` is an exclusive borrow of its elements, as `&mut [f32]` is.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// # Panics
    ///
    /// When `data` is shorter than the shape.
    pub(crate) fn new(data: &'a mut [f32], [rows, cols]: [usize; 2]) -> Self {
        assert!(rows * cols <= data.len());
        Self {
            data: data.as_mut_ptr(),
            rows,
            cols,
            row_stride: cols,
            lifetime: PhantomData,
        }
    }

    /// Disjoint panels of `width` columns, from the left.
    pub(crate) fn split_columns(self, width: usize) -> impl Iterator<Item = MatMut<'a>> {
        let count = self.cols.checked_div(width).unwrap_or(0);
        (0..count).map(move |panel| MatMut {
            // In bounds, or never dereferenced when there are no rows; the columns of two panels never overlap.
            data: self.data.wrapping_add(panel * width),
            cols: width,
            ..self
        })
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols);
        MatMut {
            data: self.data.wrapping_add(range.start),
            cols: range.len(),
            ..self
        }
    }

    /// Disjoint blocks of at most `rows` by `cols` with their first row and column, row by row.
    pub(crate) fn split_blocks(self, rows: usize, cols: usize) -> Vec<([usize; 2], MatMut<'a>)> {
        let starts = move |len: usize, step: usize| (0..len).step_by(step.max(1));
        let block = |row: usize, col: usize| MatMut {
            // In bounds; two blocks never overlap.
            data: self.data.wrapping_add(row * self.row_stride + col),
            rows: rows.min(self.rows - row),
            cols: cols.min(self.cols - col),
            ..self
        };
        starts(self.rows, rows)
            .flat_map(|row| starts(self.cols, cols).map(move |col| [row, col]))
            .map(|at @ [row, col]| (at, block(row, col)))
            .collect()
    }

    /// One row.
    #[inline(always)]
    pub(crate) fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows);
        // SAFETY: a row is in bounds and exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(index * self.row_stride), self.cols) }
    }

    /// Columns `cols` of the `N` rows from `first` on.
    #[inline(always)]
    pub(crate) fn rows_from<const N: usize>(
        &mut self,
        first: usize,
        cols: Range<usize>,
    ) -> [&mut [f32]; N] {
        assert!(first + N <= self.rows && cols.start <= cols.end && cols.end <= self.cols);
        std::array::from_fn(|index| {
            let start = (first + index) * self.row_stride + cols.start;
            // SAFETY: in bounds and exclusively borrowed, and two rows never overlap.
            unsafe { std::slice::from_raw_parts_mut(self.data.add(start), cols.len()) }
        })
    }

    pub(crate) fn rows(&mut self, range: Range<usize>) -> MatMut<'_> {
        assert!(range.start <= range.end && range.end <= self.rows);
        MatMut {
            data: self.data.wrapping_add(range.start * self.row_stride),
            rows: range.len(),
            ..*self
        }
    }
}

/// `dst = scale * lhs rhs`, or `dst += ...`. For one shape the order of summation is the same on any number of threads.
///
/// # Panics
///
/// When the shapes do not fit.
pub(crate) fn gemm(
    dst: &mut MatMut<'_>,
    update: Update,
    scale: f32,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    threads: Threads,
) {
    assert_eq!([dst.rows, dst.cols], [lhs.rows, rhs.cols]);
    assert_eq!(lhs.cols, rhs.rows);
    if dst.rows == 0 || dst.cols == 0 {
        return;
    }
    if lhs.cols == 0 {
        if update == Update::Set {
            for row in 0..dst.rows {
                // SAFETY: a row of `dst` is in bounds and exclusively borrowed.
                unsafe { dst.data.add(row * dst.row_stride).write_bytes(0, dst.cols) };
            }
        }
        return;
    }
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: constructors and slicing keep every element of the three views in bounds, `dst` is
    // exclusively borrowed, and with `read_dst` false it is written before it is read.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            lhs.cols,
            dst.data,
            1,
            dst.row_stride as isize,
            update == Update::Add,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `lhs rhs` in a new buffer.
pub(crate) fn product(lhs: MatRef<'_>, rhs: MatRef<'_>, threads: Threads) -> Vec<f32> {
    let [rows, cols] = [lhs.rows, rhs.cols];
    let mut values = Vec::with_capacity(rows * cols);
    let mut dst = MatMut {
        data: values.as_mut_ptr(),
        rows,
        cols,
        row_stride: cols,
        lifetime: PhantomData,
    };
    gemm(&mut dst, Update::Set, 1.0, lhs, rhs, threads);
    // SAFETY: the capacity holds them, and `gemm` wrote every element.
    unsafe { values.set_len(rows * cols) };
    values
}
