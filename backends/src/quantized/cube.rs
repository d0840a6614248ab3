//! Products of few rows directly from the packed words.
#![allow(
    unsafe_code,
    reason = "a kernel that checks itself what it reads: a check of every word would double the instructions"
)]

use burn::tensor::backend::Backend;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::Projections;
use crate::cube::columns::{
    Form, Matrix, SLICES, add, column, cube_count, cube_dim, join, own_lane, zeros,
};
use crate::cube::few;
use crate::cube::launch::{addresses, empty, in_rows};

/// Whether the kernels of experts support these inputs.
pub(crate) fn fits<B: Backend>(
    input: &burn::tensor::Tensor<B, 2>,
    projections: &Projections<B>,
) -> bool {
    let Projections { gate, up, .. } = projections;
    few(input.dims()[0]) && gate.bits == up.bits && gate.scales.dtype() == up.scales.dtype()
}

/// See [`Ops::project_quantized`](crate::Ops::project_quantized).
pub(crate) fn project<R: CubeRuntime>(input: CubeTensor<R>, weight: Matrix<R>) -> CubeTensor<R> {
    let input = in_rows(input);
    let rows = input.meta.shape()[0];
    let output = empty(&input, [rows, weight.columns()], input.dtype);
    let types = [input.dtype.into(), weight.scales.dtype.into()];
    // SAFETY: every index is below the shape of its tensor.
    unsafe {
        product::launch_unchecked::<R>(
            &output.client,
            cube_count(&weight, rows),
            cube_dim(),
            addresses(&[&input, &weight.values, &output]),
            input.into_tensor_arg(),
            weight.values.into_tensor_arg(),
            weight.scales.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            weight.form,
            types,
        );
    }
    output
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn product<X: Float, S: Float>(
    input: &Tensor<X>,
    weight: &Tensor<i32>,
    scales: &Tensor<S>,
    output: &mut Tensor<X>,
    #[comptime] form: Form,
    #[define(X, S)] _types: [StorageType; 2],
) {
    let lane = own_lane();
    let token = CUBE_POS_Y as usize;
    let mut sums = zeros(form);
    if lane < weight.shape(1) {
        let mut row = UNIT_POS_Y as usize;
        while row < weight.shape(0) {
            add::<i32, S>(
                &mut sums,
                f32::cast_from(input[token * input.stride(0) + row]),
                weight,
                row * weight.stride(0),
                scales,
                row * scales.stride(0),
                lane,
                form,
            );
            row += SLICES as usize;
        }
    }
    join(&mut sums, form);
    if UNIT_POS_Y == 0 && lane < weight.shape(1) {
        #[unroll]
        for number in 0..comptime!(form.columns()) {
            output[token * output.stride(0) + column(lane, number, form)] =
                X::cast_from(sums[number]);
        }
    }
}
