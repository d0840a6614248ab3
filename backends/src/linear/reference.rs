//! Reference implementation.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::Ops;
use crate::product::Times;
use crate::weight::Weight;

/// See [`Ops::project`].
pub fn linear<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let weight = of_type(weight, &input);
    input.times(weight)
}

/// See [`Ops::project_transposed`].
pub fn linear_transposed<B: Backend>(input: Tensor<B, 2>, weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let weight = of_type(weight, &input);
    input.times(weight.transpose())
}

fn of_type<B: Backend>(weight: Tensor<B, 2>, input: &Tensor<B, 2>) -> Tensor<B, 2> {
    if weight.dtype() == input.dtype() {
        weight
    } else {
        weight.cast(input.dtype())
    }
}

/// See [`Ops::project_each`].
pub fn linear_each<B: Ops>(input: Tensor<B, 2>, weights: Vec<Weight<B, 2>>) -> Vec<Tensor<B, 2>> {
    let project = |weight: Weight<B, 2>| weight.project(input.clone());
    weights.into_iter().map(project).collect()
}
