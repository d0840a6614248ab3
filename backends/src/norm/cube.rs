//! RMSNorm with one cube per row; the mean is computed in f32.

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use crate::cube::launch::{addresses, cube_each, empty, in_rows};

/// Number of units of a cube.
const UNITS: u32 = 128;

/// See [`Ops::rms_norm`](crate::Ops::rms_norm).
pub(crate) fn rms_norm<R: CubeRuntime>(
    input: CubeTensor<R>,
    weight: CubeTensor<R>,
    eps: f64,
) -> CubeTensor<R> {
    let [input, weight] = [input, weight].map(in_rows);
    let [rows, width] = [0, 1].map(|dim| input.meta.shape()[dim]);
    let output = empty(&input, [rows, width], input.dtype);
    let types = [input.dtype.into(), weight.dtype.into()];
    normalized::launch::<R>(
        &output.client,
        cube_each(rows),
        CubeDim::new_1d(UNITS),
        addresses(&[&input, &weight, &output]),
        input.into_tensor_arg(),
        weight.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        eps as f32,
        types,
    );
    output
}

#[cube(launch, address_type = "dynamic")]
fn normalized<X: Float, W: Float>(
    input: &Tensor<X>,
    weight: &Tensor<W>,
    output: &mut Tensor<X>,
    eps: f32,
    #[define(X, W)] _types: [StorageType; 2],
) {
    let row = CUBE_POS;
    if row >= input.shape(0) {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let units = comptime!(UNITS as usize);
    let width = input.shape(1);
    let mut sums = SharedMemory::<f32>::new(units);
    let mut sum = 0.0f32;
    let mut column = unit;
    while column < width {
        let x = f32::cast_from(input[row * input.stride(0) + column]);
        sum += x * x;
        column += units;
    }
    sums[unit] = sum;
    sync_cube();
    let mut half = comptime!(UNITS as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            sums[unit] += sums[unit + half];
        }
        sync_cube();
        half /= 2;
    }
    let factor = 1.0f32 / (sums[0] / f32::cast_from(width as u32) + eps).sqrt();
    let mut column = unit;
    while column < width {
        let x = f32::cast_from(input[row * input.stride(0) + column]);
        output[row * output.stride(0) + column] =
            X::cast_from(x * factor * f32::cast_from(weight[column]));
        column += units;
    }
}
