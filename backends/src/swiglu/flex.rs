//! One fused pass, with rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::fresh::new_rows;
use crate::flex::matrix::MatRef;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::{kernel, sigmoid};

/// See [`Ops::swiglu`](crate::Ops::swiglu).
pub(crate) fn swiglu(gate: Tensor<Flex, 2>, up: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let [tokens, width] = gate.dims();
    let (gate, up) = (View::rows(gate), View::rows(up));
    let (gate, up) = (gate.matrix(), up.matrix());
    let [out] = new_rows(tokens, [width], |first, [out]| {
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
    let grads = new_rows(tokens, [width, width], |first, [d_gate, d_up]| {
        activate_backward(d_gate, d_up, width, inputs, first);
    });
    grads.map(|grad| tensor(grad, [tokens, width]))
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
