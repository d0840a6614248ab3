//! Reference implementation.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{AdamWStep, Moments};

/// See [`Ops::adamw`](crate::Ops::adamw).
pub fn adamw<B: Backend>(
    parameter: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    moments: Moments<B>,
    step: &AdamWStep,
) -> (Tensor<B, 1>, Moments<B>) {
    let gradient = gradient.mul_scalar(step.gradient_scale);
    let first =
        moments.first.mul_scalar(step.beta_1) + gradient.clone().mul_scalar(1.0 - step.beta_1);
    let second =
        moments.second.mul_scalar(step.beta_2) + gradient.square().mul_scalar(1.0 - step.beta_2);

    let unbiased_first = first
        .clone()
        .div_scalar(1.0 - step.beta_1.powi(step.time as i32));
    let unbiased_second = second
        .clone()
        .div_scalar(1.0 - step.beta_2.powi(step.time as i32));
    let direction = unbiased_first / (unbiased_second.sqrt() + step.epsilon);
    let decayed = parameter.mul_scalar(1.0 - step.lr * step.weight_decay);

    (
        decayed - direction.mul_scalar(step.lr),
        Moments { first, second },
    )
}
