//! Products that read and write memory directly: transposes are strides, not copies.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::gemm::products;
use crate::flex::matrix::{MatMut, Threads};
use crate::flex::product::{self, Buffers, Share};
use crate::flex::rows::{View, all_f32, tensor, with_element};
use crate::flex::stored::{Held, Stored};
use crate::flex::team;
use crate::weight::Weight;

/// See [`Ops::project`](crate::Ops::project). 16-bit weights are converted to f32 as they are read.
pub(crate) fn linear(input: Tensor<Flex, 2>, weight: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let shape = [input.dims()[0], weight.dims()[1]];
    let dtype = weight.dtype();
    let (input, weight) = (View::strided(input), View::strided(weight));
    let values = with_element!(dtype, E => {
        product::product(input.matrix(), weight.matrix_of::<E>(), Threads::All)
    });
    tensor(values, shape)
}

/// See [`Ops::project_each`](crate::Ops::project_each). Few rows are multiplied with all weights in one parallel
/// part. `None` if the kernels do not support the inputs.
pub(crate) fn linear_each(
    input: &Tensor<Flex, 2>,
    weights: &[Weight<Flex, 2>],
) -> Option<Vec<Tensor<Flex, 2>>> {
    let [rows, inner] = input.dims();
    if !all_f32(&[input.dtype()]) || rows > product::FEW_ROWS {
        return None;
    }
    let held: Vec<Held<2>> = weights.iter().map(Held::new).collect::<Option<_>>()?;
    let matrices: Vec<Stored<'_>> = held.iter().map(|held| held.matrix(0)).collect();
    let x = View::strided(input.clone());
    let x = x.matrix();
    let widths: Vec<usize> = matrices.iter().map(|matrix| matrix.shape()[1]).collect();
    let threads = product::threads_worth(rows * inner * widths.iter().sum::<usize>());
    let mut outputs: Vec<Vec<f32>> = widths.iter().map(|cols| vec![0.0; rows * cols]).collect();
    let outs = outputs.iter_mut().zip(&widths);
    let outs = outs.map(|(out, cols)| MatMut::new(out, [rows, *cols]));
    let shares = product::shares(outs.collect(), threads);
    let work = |buffers: &mut Buffers, share: Share<'_>| {
        let mut out = share.out;
        matrices[share.matrix].add_block(&mut out, x, share.first, buffers);
    };
    match threads {
        1 => {
            let mut buffers = Buffers::default();
            shares
                .into_iter()
                .for_each(|share| work(&mut buffers, share));
        }
        _ => team::each(shares, Buffers::default, work),
    }
    let shaped = outputs.into_iter().zip(widths);
    Some(
        shaped
            .map(|(out, cols)| tensor(out, [rows, cols]))
            .collect(),
    )
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
    let [output] = products([Some((input.matrix(), weight.matrix()))]);
    tensor(output.expect("it was asked for"), shape)
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
    // the gradient has the layout of the weight, so that it can be added to another gradient
    let is_transposed = !w.has_adjacent_columns();
    let of_weight = if is_transposed {
        (dy.transposed(), x)
    } else {
        (x.transposed(), dy)
    };
    let of_input = (dy, w.transposed());
    let input_grad = |values| tensor(values, shapes[0]);
    let weight_grad = |values| {
        if is_transposed {
            tensor(values, [shapes[1][1], shapes[1][0]]).transpose()
        } else {
            tensor(values, shapes[1])
        }
    };
    let [input, weight] = products([
        needed[0].then_some(of_input),
        needed[1].then_some(of_weight),
    ]);
    [input.map(input_grad), weight.map(weight_grad)]
}
