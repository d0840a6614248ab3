//! Products straight from and to memory: transposes are strides, not copies.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::matrix::{Threads, product};
use crate::flex::product;
use crate::flex::rows::{View, tensor, with_element};

/// See [`Ops::project`](crate::Ops::project). Weights of two bytes become f32 as they are read.
pub(crate) fn linear(input: Tensor<Flex, 2>, weight: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let shape = [input.dims()[0], weight.dims()[1]];
    let dtype = weight.dtype();
    let (input, weight) = (View::strided(input), View::strided(weight));
    let values = with_element!(dtype, E => {
        product::product(input.matrix(), weight.matrix_of::<E>(), Threads::All)
    });
    tensor(values, shape)
}

/// See [`Ops::project_transposed`](crate::Ops::project_transposed).
pub(crate) fn linear_transposed(
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let shape = [input.dims()[0], weight.dims()[0]];
    let dtype = weight.dtype();
    let (input, weight) = (View::rows(input), View::rows(weight));
    let values = with_element!(dtype, E => {
        product::dots(input.matrix(), weight.matrix_of::<E>(), Threads::All)
    });
    tensor(values, shape)
}

/// See [`Ops::project_saving`](crate::Ops::project_saving).
pub(crate) fn linear_saving(input: Tensor<Flex, 2>, weight: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
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
