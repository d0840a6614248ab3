//! Type checks that select the fast forms.

use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

use super::rows::all_f32;
use crate::experts::Projections;
use crate::latent::flex::Up;
use crate::linear_attention::LinearAttention;
use crate::weight::Weight;

/// Types of all operands of an expert layer.
pub(super) fn types(
    input: &Tensor<Flex, 2>,
    projections: &Projections<Flex>,
    weights: &Tensor<Flex, 2>,
) -> [DType; 5] {
    let Projections { gate, up, down } = projections;
    [
        input.dtype(),
        gate.dtype(),
        up.dtype(),
        down.dtype(),
        weights.dtype(),
    ]
}

/// The common type of all inputs; if they differ, a type without a fast form.
pub(super) fn common_dtype(input: &LinearAttention<Flex>) -> DType {
    let types = [&input.query, &input.key, &input.value, &input.state].map(|it| it.dtype());
    if all_f32(&types) && all_f32(&[input.log_decay.dtype(), input.write.dtype()]) {
        DType::F32
    } else {
        DType::BF16
    }
}

/// The up-projection in a supported format, for a tensor of type f32.
pub(super) fn up_of(
    weight: &Weight<Flex, 2>,
    heads: usize,
    value: usize,
    dtype: DType,
) -> Option<Up> {
    if all_f32(&[dtype]) {
        Up::new(weight, heads, value)
    } else {
        None
    }
}
