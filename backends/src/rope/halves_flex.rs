//! Rotary position embedding on halves in one pass, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::fresh::new_rows;
use crate::flex::matrix::MatRef;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::kernel;

/// See [`Ops::rope_halves`](crate::Ops::rope_halves).
pub(crate) fn rope_halves(
    input: Tensor<Flex, 4>,
    cos: Tensor<Flex, 3>,
    sin: Tensor<Flex, 3>,
) -> Tensor<Flex, 4> {
    let shape @ [batch, seq, heads, width] = input.dims();
    let [_, _, half] = cos.dims();
    let rows = batch * seq * heads;
    let input = View::rows(input.reshape([rows, width]));
    let [cos, sin] = [cos, sin].map(|angles| View::rows(angles.reshape([batch * seq, half])));
    let (input, angles) = (input.matrix(), [cos.matrix(), sin.matrix()]);
    let [out] = new_rows(rows, [width], |first, [out]| {
        turn(out, [width, half, heads], input, angles, first);
    });
    tensor(out, shape)
}

kernel! {
    fn turn<'a>(
        out: &'a mut [f32],
        sizes: [usize; 3],
        input: MatRef<'a>,
        angles: [MatRef<'a>; 2],
        first: usize,
    ) {
        let [width, half, heads] = sizes;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let row = first + row;
            let input = input.row(row);
            let [cos, sin] = angles.map(|of| of.row(row / heads));
            out[2 * half..].copy_from_slice(&input[2 * half..]);
            let (left, right) = out[..2 * half].split_at_mut(half);
            let pairs = input[..half].iter().zip(&input[half..2 * half]);
            let outputs = left.iter_mut().zip(right.iter_mut());
            let angles = cos.iter().zip(sin);
            for (((x, y), (a, b)), (cos, sin)) in outputs.zip(pairs).zip(angles) {
                *x = a * cos - b * sin;
                *y = b * cos + a * sin;
            }
        }
    }
}
