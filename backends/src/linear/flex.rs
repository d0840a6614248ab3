//! Products straight from and to memory: transposes are strides, not copies.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::{Threads, product};
use crate::flex::rows::{View, tensor};

/// See [`Ops::project`](crate::Ops::project).
pub(crate) fn linear(input: Tensor<Flex, 2>, weight: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let shape = [input.dims()[0], weight.dims()[1]];
    let (input, weight) = (View::strided(input), View::strided(weight));
    tensor(
        product(input.matrix(), weight.matrix(), Threads::All),
        shape,
    )
}

/// See [`Ops::project_backward`](crate::Ops::project_backward).
pub(crate) fn linear_backward(
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    grad: Tensor<Flex, 2>,
    needed: [bool; 2],
) -> [Option<Tensor<Flex, 2>>; 2] {
    let shapes = [input.dims(), weight.dims()];
    let (input, weight, grad) = (
        View::strided(input),
        View::strided(weight),
        View::strided(grad),
    );
    let (x, w, dy) = (input.matrix(), weight.matrix(), grad.matrix());
    [
        needed[0].then(|| tensor(product(dy, w.transposed(), Threads::All), shapes[0])),
        needed[1].then(|| tensor(product(x.transposed(), dy, Threads::All), shapes[1])),
    ]
}
