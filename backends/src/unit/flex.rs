//! One fused pass, with rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::UnitEps;
use crate::flex::fresh::new_rows;
use crate::flex::matrix::MatRef;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::{dot, kernel};

/// See [`Ops::unit_rows`](crate::Ops::unit_rows).
pub(crate) fn unit_rows(input: Tensor<Flex, 2>, eps: UnitEps) -> Tensor<Flex, 2> {
    let shape @ [rows, width] = input.dims();
    let input = View::rows(input);
    let input = input.matrix();
    let [out] = new_rows(rows, [width], |first, [out]| {
        scale(out, width, input, first, eps);
    });
    tensor(out, shape)
}

/// See [`Ops::unit_rows_backward`](crate::Ops::unit_rows_backward).
pub(crate) fn unit_rows_backward(
    input: Tensor<Flex, 2>,
    eps: UnitEps,
    grad: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let shape @ [rows, width] = input.dims();
    let (input, grad) = (View::rows(input), View::rows(grad));
    let inputs = [input.matrix(), grad.matrix()];
    let [out] = new_rows(rows, [width], |first, [out]| {
        scale_backward(out, width, inputs, first, eps);
    });
    tensor(out, shape)
}

/// Factor on a row, and coefficient of its component along itself in the derivative.
#[inline(always)]
fn factors(square: f32, eps: UnitEps) -> [f32; 2] {
    match eps {
        UnitEps::Length(eps) => {
            let length = (square + 1e-24).sqrt();
            let factor = 1.0 / (length + eps as f32);
            [factor, factor * factor / length]
        }
        UnitEps::Square(eps) => {
            let factor = 1.0 / (square + eps as f32).sqrt();
            [factor, factor * factor * factor]
        }
    }
}

kernel! {
    fn scale<'a>(
        out: &'a mut [f32],
        width: usize,
        input: MatRef<'a>,
        first: usize,
        eps: UnitEps,
    ) {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let input = input.row(first + row);
            let [factor, _] = factors(dot(input, input), eps);
            for (out, value) in out.iter_mut().zip(input) {
                *out = value * factor;
            }
        }
    }
}

kernel! {
    fn scale_backward<'a>(
        out: &'a mut [f32],
        width: usize,
        inputs: [MatRef<'a>; 2],
        first: usize,
        eps: UnitEps,
    ) {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let [input, grad] = inputs.map(|of| of.row(first + row));
            let [factor, curve] = factors(dot(input, input), eps);
            let along = dot(input, grad) * curve;
            for ((out, value), grad) in out.iter_mut().zip(input).zip(grad) {
                *out = grad * factor - value * along;
            }
        }
    }
}
