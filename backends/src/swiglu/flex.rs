//! One pass, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;
use rayon::prelude::*;

use crate::flex::matrix::{MatRef, Threads};
use crate::flex::rows::{View, for_each_rows, rows_per_task, tensor};
use crate::flex::simd::{kernel, sigmoid};

/// See [`Ops::swiglu`](crate::Ops::swiglu).
pub(crate) fn swiglu(gate: Tensor<Flex, 2>, up: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let [tokens, width] = gate.dims();
    let (gate, up) = (View::rows(gate), View::rows(up));
    let (gate, up) = (gate.matrix(), up.matrix());
    let mut out = vec![0.0; tokens * width];
    for_each_rows(Threads::All, &mut out, width, |first, out| {
        activate(out, width, gate, up, first);
    });
    tensor(out, [tokens, width])
}

/// See [`Ops::swiglu_backward`](crate::Ops::swiglu_backward).
pub(crate) fn swiglu_backward(
    gate: Tensor<Flex, 2>,
    up: Tensor<Flex, 2>,
    grad: Tensor<Flex, 2>,
) -> [Tensor<Flex, 2>; 2] {
    let [tokens, width] = gate.dims();
    let (gate, up, grad) = (View::rows(gate), View::rows(up), View::rows(grad));
    let inputs = [gate.matrix(), up.matrix(), grad.matrix()];
    let mut d_gate = vec![0.0; tokens * width];
    let mut d_up = vec![0.0; tokens * width];
    let rows = rows_per_task(width);
    let piece = (rows * width).max(1);
    d_gate
        .par_chunks_mut(piece)
        .zip(d_up.par_chunks_mut(piece))
        .enumerate()
        .for_each(|(task, (d_gate, d_up))| {
            activate_backward(d_gate, d_up, width, inputs, task * rows);
        });
    [
        tensor(d_gate, [tokens, width]),
        tensor(d_up, [tokens, width]),
    ]
}

kernel! {
    fn activate<'a>(
        out: &'a mut [f32],
        width: usize,
        gate: MatRef<'a>,
        up: MatRef<'a>,
        first: usize,
    ) {
        for (row, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
            let (gate, up) = (gate.row(first + row), up.row(first + row));
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate * sigmoid(*gate) * up;
            }
        }
    }
}

kernel! {
    fn activate_backward<'a>(
        d_gate: &'a mut [f32],
        d_up: &'a mut [f32],
        width: usize,
        inputs: [MatRef<'a>; 3],
        first: usize,
    ) {
        let rows = d_gate.chunks_exact_mut(width).zip(d_up.chunks_exact_mut(width));
        for (row, (d_gate, d_up)) in rows.enumerate() {
            let [gate, up, grad] = inputs.map(|input| input.row(first + row));
            let outputs = d_gate.iter_mut().zip(d_up.iter_mut());
            for ((((d_gate, d_up), g), u), dy) in outputs.zip(gate).zip(up).zip(grad) {
                let open = sigmoid(*g);
                let silu = g * open;
                *d_gate = dy * u * (open + silu * (1.0 - open));
                *d_up = dy * silu;
            }
        }
    }
}
