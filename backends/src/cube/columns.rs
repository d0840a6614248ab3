//! Products of few rows with a matrix, `y_c = sum_r x_r W_rc`, in floating point or quantized in blocks.
//!
//! A cube has [`LANES`] units along a row of the matrix and [`SLICES`] units that share the sums of its columns:
//! unit `(lane, slice)` sums over the rows `slice, slice + SLICES, ..`, so that neighbouring units read neighbouring
//! elements. The first slice adds up the partial sums, in f32.

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::launch::in_rows;
use crate::quantized::Bits;

/// Number of units along a row.
pub(crate) const LANES: u32 = 32;
/// Number of units along a column.
pub(crate) const SLICES: u32 = 8;

/// Type of a matrix's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Floating-point numbers.
    Numbers,
    /// Words of four 8-bit integers, see [`crate::quantized`].
    Eight,
    /// Words of eight 4-bit integers.
    Four,
}

impl Form {
    /// Number of columns per element.
    pub(crate) fn columns(self) -> usize {
        match self {
            Self::Numbers => 1,
            Self::Eight => 4,
            Self::Four => 8,
        }
    }
}

/// A matrix, or a stack of them.
pub(crate) struct Matrix<R: CubeRuntime> {
    pub(crate) values: CubeTensor<R>,
    /// Scales of the blocks; for floating-point numbers a second handle on `values`, since a kernel's arguments are
    /// fixed.
    pub(crate) scales: CubeTensor<R>,
    pub(crate) form: Form,
}

impl<R: CubeRuntime> Matrix<R> {
    /// A matrix of floating-point numbers.
    pub(crate) fn numbers(values: CubeTensor<R>) -> Self {
        let values = in_rows(values);
        let scales = values.clone();
        let form = Form::Numbers;
        Self {
            values,
            scales,
            form,
        }
    }

    /// A matrix quantized in blocks.
    pub(crate) fn blocks(values: CubeTensor<R>, scales: CubeTensor<R>, bits: Bits) -> Self {
        let form = match bits {
            Bits::Eight => Form::Eight,
            Bits::Four => Form::Four,
        };
        let [values, scales] = [values, scales].map(in_rows);
        Self {
            values,
            scales,
            form,
        }
    }

    /// Number of columns of the unpacked matrix.
    pub(crate) fn columns(&self) -> usize {
        let shape = self.values.meta.shape();
        shape[shape.len() - 1] * self.form.columns()
    }
}

/// Number of units of a cube.
pub(crate) fn cube_dim() -> CubeDim {
    CubeDim::new_2d(LANES, SLICES)
}

/// Number of cubes for all columns of `matrix` and the given number of outputs.
pub(crate) fn cube_count<R: CubeRuntime>(matrix: &Matrix<R>, outputs: usize) -> CubeCount {
    let lanes = matrix.columns() / matrix.form.columns();
    CubeCount::Static((lanes as u32).div_ceil(LANES), outputs as u32, 1)
}

/// Index of the element in a row that a unit reads.
#[cube]
pub(crate) fn own_lane() -> usize {
    (CUBE_POS_X * LANES + UNIT_POS_X) as usize
}

/// Column of value `number` within an element.
#[cube]
pub(crate) fn column(lane: usize, #[comptime] number: usize, #[comptime] form: Form) -> usize {
    match comptime!(form) {
        Form::Numbers => lane,
        Form::Eight => lane * 4 + number,
        Form::Four => lane / 4 * 32 + lane % 4 * 4 + comptime!(number % 4 + number / 4 * 16),
    }
}

/// Zero sums.
#[cube]
pub(crate) fn zeros(#[comptime] form: Form) -> Array<f32> {
    let count = comptime!(form.columns());
    let mut sums = Array::<f32>::new(count);
    #[unroll]
    for number in 0..count {
        sums[number] = 0.0f32;
    }
    sums
}

/// Adds `x` times one element of a row to the sums of its columns. The row begins at `row` in the values and at
/// `scales_row` in the scales.
#[cube]
pub(crate) fn add<V: Numeric, S: Float>(
    sums: &mut Array<f32>,
    x: f32,
    values: &Tensor<V>,
    row: usize,
    scales: &Tensor<S>,
    scales_row: usize,
    lane: usize,
    #[comptime] form: Form,
) {
    match comptime!(form) {
        Form::Numbers => sums[0] += x * f32::cast_from(values[row + lane]),
        Form::Eight => {
            let word = i32::cast_from(values[row + lane]);
            let x = x * f32::cast_from(scales[scales_row + lane / 8]);
            #[unroll]
            for byte in 0..comptime!(4usize) {
                // shifts left and back to extend the sign
                let top = word << comptime!(24 - 8 * byte as i32);
                sums[byte] += x * f32::cast_from(top >> 24i32);
            }
        }
        Form::Four => {
            let word = i32::cast_from(values[row + lane]);
            let x = x * f32::cast_from(scales[scales_row + lane / 4]);
            #[unroll]
            for byte in 0..comptime!(4usize) {
                let low = (word >> comptime!(8 * byte as i32)) & 15i32;
                let high = (word >> comptime!(8 * byte as i32 + 4)) & 15i32;
                sums[byte] += x * (f32::cast_from(low) - 8.0f32);
                sums[byte + 4] += x * (f32::cast_from(high) - 8.0f32);
            }
        }
    }
}

/// Adds the sums of all slices, into the first slice.
#[cube]
pub(crate) fn join(sums: &mut Array<f32>, #[comptime] form: Form) {
    let count = comptime!(form.columns());
    let units = comptime!((LANES * SLICES) as usize);
    let mut shared = SharedMemory::<f32>::new(comptime!(count * units));
    #[unroll]
    for number in 0..count {
        shared[number * units + UNIT_POS as usize] = sums[number];
    }
    sync_cube();
    if UNIT_POS_Y == 0 {
        #[unroll]
        for number in 0..count {
            let mut total = 0.0f32;
            for slice in 0..comptime!(SLICES as usize) {
                total += shared[number * units + slice * LANES as usize + UNIT_POS_X as usize];
            }
            sums[number] = total;
        }
    }
}
