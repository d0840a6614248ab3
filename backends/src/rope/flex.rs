//! Rotary position embedding in one pass instead of five operations, positions in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::fresh::new_rows;
use crate::flex::rows::{View, tensor};
use crate::flex::simd::kernel;

/// See [`Ops::rope`](crate::Ops::rope).
pub(crate) fn rope(
    input: Tensor<Flex, 4>,
    cos: Tensor<Flex, 3>,
    sin: Tensor<Flex, 3>,
) -> Tensor<Flex, 4> {
    let [batch, seq, heads, dim] = input.dims();
    let (input, cos, sin) = (View::rows(input), View::rows(cos), View::rows(sin));
    let [out] = new_rows(batch * seq, [heads * dim], |first, [out]| {
        for (row, out) in out.chunks_exact_mut((heads * dim).max(1)).enumerate() {
            let (item, position) = ((first + row) / seq, (first + row) % seq);
            let start = item * input.stride(0) + position * input.stride(1);
            let angles = |table: &View<3>| item * table.stride(0) + position * table.stride(1);
            rotate(
                out,
                dim,
                &input.data()[start..],
                input.stride(2),
                &cos.data()[angles(&cos)..][..dim / 2],
                &sin.data()[angles(&sin)..][..dim / 2],
            );
        }
    });
    tensor(out, [batch, seq, heads, dim])
}

kernel! {
    fn rotate<'a>(
        out: &'a mut [f32],
        dim: usize,
        input: &'a [f32],
        head_stride: usize,
        cos: &'a [f32],
        sin: &'a [f32],
    ) {
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            let input = &input[head * head_stride..][..dim];
            let pairs = out.chunks_exact_mut(2).zip(input.chunks_exact(2));
            for (((out, input), cos), sin) in pairs.zip(cos).zip(sin) {
                out[0] = input[0] * cos - input[1] * sin;
                out[1] = input[1] * cos + input[0] * sin;
            }
        }
    }
}
