//! Copies and sums of whole heads, with rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::HeadSharing;
use crate::flex::fresh::new_rows;
use crate::flex::rows::{View, tensor};

/// See [`Ops::swap_heads`](crate::Ops::swap_heads).
pub(crate) fn swap_heads(input: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    let [batch, outer, inner, dim] = input.dims();
    let input = View::rows(input);
    let [out] = new_rows(batch * outer * inner, [dim], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(dim.max(1)).enumerate() {
            let row = first + row;
            let (rest, at_outer) = (row / outer, row % outer);
            out.copy_from_slice(row_of(&input, [rest / inner, at_outer, rest % inner]));
        }
    });
    tensor(out, [batch, inner, outer, dim])
}

/// See [`Ops::share_heads`](crate::Ops::share_heads).
pub(crate) fn share_heads(
    heads: Tensor<Flex, 4>,
    each: usize,
    sharing: HeadSharing,
) -> Tensor<Flex, 4> {
    let [batch, seq, count, dim] = heads.dims();
    let all = count * each;
    let heads = View::rows(heads);
    let [out] = new_rows(batch * seq * all, [dim], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(dim.max(1)).enumerate() {
            let (token, head) = ((first + row) / all, (first + row) % all);
            let head = sharing.source(head, count, each);
            out.copy_from_slice(row_of(&heads, [token / seq, token % seq, head]));
        }
    });
    tensor(out, [batch, seq, all, dim])
}

/// See [`Ops::share_heads_backward`](crate::Ops::share_heads_backward).
pub(crate) fn share_heads_backward(
    grad: Tensor<Flex, 4>,
    each: usize,
    sharing: HeadSharing,
) -> Tensor<Flex, 4> {
    let [batch, seq, all, dim] = grad.dims();
    let count = all / each;
    let grad = View::rows(grad);
    let [out] = new_rows(batch * seq * count, [dim], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(dim.max(1)).enumerate() {
            let (token, head) = ((first + row) / count, (first + row) % count);
            for copy in 0..each {
                let of = match sharing {
                    HeadSharing::Tiled => copy * count + head,
                    HeadSharing::Grouped => head * each + copy,
                };
                let grad = row_of(&grad, [token / seq, token % seq, of]);
                for (out, grad) in out.iter_mut().zip(grad) {
                    *out += grad;
                }
            }
        }
    });
    tensor(out, [batch, seq, count, dim])
}

fn row_of(tensor: &View<4>, at: [usize; 3]) -> &[f32] {
    let [_, _, _, dim] = tensor.shape();
    let start: usize = (0..3).map(|axis| at[axis] * tensor.stride(axis)).sum();
    &tensor.data()[start..start + dim]
}
