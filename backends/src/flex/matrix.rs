//! Strided views of matrices in memory.
#![allow(
    unsafe_code,
    reason = "panels of columns of one buffer are written in parallel"
)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::ahead::Region;

/// Threads that a product may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread.
    One,
    /// All threads of the current rayon pool.
    All,
}

/// How a product writes to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// Overwrites it.
    Set,
    /// Adds to it.
    Add,
}

/// A read-only matrix, `element(i, j) = data[i * row_stride + j * col_stride]`.
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
    /// If the last element lies outside of `data`.
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

    /// Row stride and column stride, in elements.
    pub(crate) fn strides(self) -> [usize; 2] {
        [self.row_stride, self.col_stride]
    }

    /// Pointer to the first element.
    pub(crate) fn as_ptr(self) -> *const E {
        self.data.as_ptr()
    }

    /// Memory region of a matrix with contiguous rows.
    pub(crate) fn region(self) -> Region {
        Region {
            start: self.data.as_ptr().addr(),
            width: self.cols * size_of::<E>(),
            stride: self.row_stride * size_of::<E>(),
            rows: self.rows,
        }
    }

    /// Whether the elements of a row are contiguous.
    pub(crate) fn has_adjacent_columns(self) -> bool {
        self.col_stride == 1 || self.cols == 1
    }

    /// One row of a matrix with contiguous rows.
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

/// A writable matrix with contiguous rows.
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
    /// If `data` is shorter than the shape.
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

    /// Splits the matrix into disjoint panels of `width` columns, from the left.
    pub(crate) fn split_columns(self, width: usize) -> impl Iterator<Item = MatMut<'a>> {
        let count = self.cols.checked_div(width).unwrap_or(0);
        (0..count).map(move |panel| MatMut {
            // In bounds, or never dereferenced when there are no rows; the columns of two panels never overlap.
            data: self.data.wrapping_add(panel * width),
            cols: width,
            ..self
        })
    }

    /// A writable matrix over memory that may be uninitialized.
    ///
    /// # Panics
    ///
    /// If `data` is shorter than the shape.
    pub(crate) fn unwritten(data: &'a mut [MaybeUninit<f32>], [rows, cols]: [usize; 2]) -> Self {
        assert!(rows * cols <= data.len());
        Self {
            data: data.as_mut_ptr().cast(),
            rows,
            cols,
            row_stride: cols,
            lifetime: PhantomData,
        }
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Row stride, in elements.
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Pointer to the first element.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data
    }

    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols);
        MatMut {
            data: self.data.wrapping_add(range.start),
            cols: range.len(),
            ..self
        }
    }

    /// Splits the matrix before column `at`.
    pub(crate) fn split_at_column(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols);
        // in bounds, or never dereferenced; the columns of the two never overlap
        let right = MatMut {
            data: self.data.wrapping_add(at),
            cols: self.cols - at,
            ..self
        };
        (MatMut { cols: at, ..self }, right)
    }

    /// Splits the matrix into disjoint blocks of at most `rows` by `cols`, each with its first row and column, row
    /// by row.
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

    /// Columns `cols` of `N` rows, starting at row `first`.
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
