//! Kernels for few tokens: they read only the weights of the chosen experts, in place, and never wait for the host.
//!
//! The first kernel computes `w silu(x G) * (x U)` of every choice, in f32. The second multiplies by `D` and sums
//! over the choices of a token. A choice of no expert reads no weight.
#![allow(
    unsafe_code,
    reason = "kernels that check themselves what they read: a check of every weight would double the instructions"
)]

use burn::tensor::DType;
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

/// Whether the kernels support these inputs.
pub(crate) fn fits<B: Backend>(
    input: &burn::tensor::Tensor<B, 2>,
    projections: &Projections<B>,
) -> bool {
    few(input.dims()[0]) && projections.gate.dtype() == projections.up.dtype()
}

/// The three weight stacks; `G` and `U` have one form and type.
pub(crate) struct Stacks<R: CubeRuntime> {
    pub(crate) gate: Matrix<R>,
    pub(crate) up: Matrix<R>,
    pub(crate) down: Matrix<R>,
}

/// See [`Ops::experts`](crate::Ops::experts).
pub(crate) fn experts<R: CubeRuntime>(
    input: CubeTensor<R>,
    stacks: Stacks<R>,
    indices: CubeTensor<R>,
    weights: CubeTensor<R>,
) -> CubeTensor<R> {
    let Stacks { gate, up, down } = stacks;
    let [input, indices, weights] = [input, indices, weights].map(in_rows);
    let [tokens, k] = [0, 1].map(|dim| indices.meta.shape()[dim]);
    let (client, dtype) = (input.client.clone(), input.dtype);
    let (index, form) = (indices.dtype, gate.form);

    let inner = empty(&input, [tokens * k, gate.columns()], DType::F32);
    let output = empty(&input, [tokens, down.columns()], dtype);
    let types = [
        dtype.into(),
        gate.values.dtype.into(),
        gate.scales.dtype.into(),
        weights.dtype.into(),
        index.into(),
    ];
    // SAFETY: every index is below the shape of its tensor; no weight is read for an expert that is none.
    unsafe {
        gated::launch_unchecked::<R>(
            &client,
            cube_count(&gate, tokens * k),
            cube_dim(),
            addresses(&[&input, &gate.values, &up.values, &inner]),
            input.into_tensor_arg(),
            gate.values.into_tensor_arg(),
            gate.scales.into_tensor_arg(),
            up.values.into_tensor_arg(),
            up.scales.into_tensor_arg(),
            indices.clone().into_tensor_arg(),
            weights.into_tensor_arg(),
            inner.clone().into_tensor_arg(),
            form,
            types,
        );
    }
    let types = [
        down.values.dtype.into(),
        down.scales.dtype.into(),
        index.into(),
        dtype.into(),
    ];
    // SAFETY: as above.
    unsafe {
        summed::launch_unchecked::<R>(
            &client,
            cube_count(&down, tokens),
            cube_dim(),
            addresses(&[&inner, &down.values, &output]),
            inner.into_tensor_arg(),
            down.values.into_tensor_arg(),
            down.scales.into_tensor_arg(),
            indices.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            down.form,
            types,
        );
    }
    output
}

/// Expert that a token chose; an index past the end is no expert.
#[cube]
fn expert_of<I: Int>(indices: &Tensor<I>, token: usize, choice: usize) -> usize {
    u32::cast_from(indices[token * indices.stride(0) + choice]) as usize
}

/// Number of rows to read from an expert's matrix; zero if there is no such expert.
#[cube]
fn rows_of<V: Numeric>(stack: &Tensor<V>, expert: usize) -> usize {
    select(expert < stack.shape(0), stack.shape(1), 0)
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn gated<X: Float, V: Numeric, S: Float, W: Float, I: Int>(
    input: &Tensor<X>,
    gate: &Tensor<V>,
    gate_scales: &Tensor<S>,
    up: &Tensor<V>,
    up_scales: &Tensor<S>,
    indices: &Tensor<I>,
    weights: &Tensor<W>,
    inner: &mut Tensor<f32>,
    #[comptime] form: Form,
    #[define(X, V, S, W, I)] _types: [StorageType; 5],
) {
    let lane = own_lane();
    let slot = CUBE_POS_Y as usize;
    let token = slot / indices.shape(1);
    let choice = slot % indices.shape(1);
    let expert = expert_of(indices, token, choice);
    // the bound of the loop, so that all units reach `join`
    let rows = rows_of(gate, expert);
    let mut gates = zeros(form);
    let mut ups = zeros(form);
    if lane < gate.shape(2) {
        let mut row = UNIT_POS_Y as usize;
        while row < rows {
            let x = f32::cast_from(input[token * input.stride(0) + row]);
            add::<V, S>(
                &mut gates,
                x,
                gate,
                expert * gate.stride(0) + row * gate.stride(1),
                gate_scales,
                expert * gate_scales.stride(0) + row * gate_scales.stride(1),
                lane,
                form,
            );
            add::<V, S>(
                &mut ups,
                x,
                up,
                expert * up.stride(0) + row * up.stride(1),
                up_scales,
                expert * up_scales.stride(0) + row * up_scales.stride(1),
                lane,
                form,
            );
            row += SLICES as usize;
        }
    }
    join(&mut gates, form);
    join(&mut ups, form);
    if UNIT_POS_Y == 0 && lane < gate.shape(2) {
        let weight = f32::cast_from(weights[token * weights.stride(0) + choice]);
        #[unroll]
        for number in 0..comptime!(form.columns()) {
            let open = 1.0f32 / (1.0f32 + (-gates[number]).exp());
            inner[slot * inner.stride(0) + column(lane, number, form)] =
                weight * gates[number] * open * ups[number];
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn summed<V: Numeric, S: Float, I: Int, Y: Float>(
    inner: &Tensor<f32>,
    down: &Tensor<V>,
    scales: &Tensor<S>,
    indices: &Tensor<I>,
    output: &mut Tensor<Y>,
    #[comptime] form: Form,
    #[define(V, S, I, Y)] _types: [StorageType; 4],
) {
    let lane = own_lane();
    let token = CUBE_POS_Y as usize;
    let mut sums = zeros(form);
    if lane < down.shape(2) {
        for choice in 0..indices.shape(1) {
            let expert = expert_of(indices, token, choice);
            let rows = rows_of(down, expert);
            let slot = token * indices.shape(1) + choice;
            let mut row = UNIT_POS_Y as usize;
            while row < rows {
                add::<V, S>(
                    &mut sums,
                    inner[slot * inner.stride(0) + row],
                    down,
                    expert * down.stride(0) + row * down.stride(1),
                    scales,
                    expert * scales.stride(0) + row * scales.stride(1),
                    lane,
                    form,
                );
                row += SLICES as usize;
            }
        }
    }
    join(&mut sums, form);
    if UNIT_POS_Y == 0 && lane < down.shape(2) {
        #[unroll]
        for number in 0..comptime!(form.columns()) {
            output[token * output.stride(0) + column(lane, number, form)] =
                Y::cast_from(sums[number]);
        }
    }
}
