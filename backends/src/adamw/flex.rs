//! AdamW as one parallel pass that updates parameter and moments in place.

use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::Flex;

use super::{AdamWStep, Moments};
use crate::flex::rows::{View, memory, rows_per_task};
use crate::flex::simd::kernel;
use crate::flex::team;

/// See [`Ops::adamw`](crate::Ops::adamw).
pub(crate) fn adamw(
    parameter: Tensor<Flex, 1>,
    gradient: Tensor<Flex, 1>,
    moments: Moments<Flex>,
    step: &AdamWStep,
) -> (Tensor<Flex, 1>, Moments<Flex>) {
    let [elements] = parameter.dims();
    let gradient = View::rows(gradient);
    let own = |tensor: Tensor<Flex, 1>| memory(tensor).to_contiguous();
    let mut parameter = own(parameter);
    let mut first = own(moments.first);
    let mut second = own(moments.second);

    let factors = Factors::new(step);
    let piece = rows_per_task(1);
    let tasks = parameter.storage_mut::<f32>()[..elements]
        .chunks_mut(piece)
        .zip(first.storage_mut::<f32>()[..elements].chunks_mut(piece))
        .zip(second.storage_mut::<f32>()[..elements].chunks_mut(piece))
        .zip(gradient.slice().chunks(piece))
        .collect();
    team::each(
        tasks,
        || (),
        |(), (((parameter, first), second), gradient)| {
            update(parameter, first, second, gradient, factors);
        },
    );

    let tensor = |memory| Tensor::from_primitive(TensorPrimitive::Float(memory));
    (
        tensor(parameter),
        Moments {
            first: tensor(first),
            second: tensor(second),
        },
    )
}

/// Coefficients of an [`AdamWStep`] in f32.
#[derive(Debug, Clone, Copy)]
struct Factors {
    gradient_scale: f32,
    beta_1: f32,
    beta_2: f32,
    rest_1: f32,
    rest_2: f32,
    unbias_1: f32,
    unbias_2: f32,
    epsilon: f32,
    decay: f32,
    lr: f32,
}

impl Factors {
    fn new(step: &AdamWStep) -> Self {
        let unbias = |beta: f64| (1.0 / (1.0 - beta.powi(step.time as i32))) as f32;
        Self {
            gradient_scale: step.gradient_scale as f32,
            beta_1: step.beta_1 as f32,
            beta_2: step.beta_2 as f32,
            rest_1: (1.0 - step.beta_1) as f32,
            rest_2: (1.0 - step.beta_2) as f32,
            unbias_1: unbias(step.beta_1),
            unbias_2: unbias(step.beta_2),
            epsilon: step.epsilon as f32,
            decay: (1.0 - step.lr * step.weight_decay) as f32,
            lr: step.lr as f32,
        }
    }
}

kernel! {
    fn update<'a>(
        parameter: &'a mut [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        gradient: &'a [f32],
        by: Factors,
    ) {
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((p, (m, v)), g) in parameter.iter_mut().zip(moments).zip(gradient) {
            let g = g * by.gradient_scale;
            *m = *m * by.beta_1 + g * by.rest_1;
            *v = *v * by.beta_2 + g * g * by.rest_2;
            let direction = *m * by.unbias_1 / ((*v * by.unbias_2).sqrt() + by.epsilon);
            *p = *p * by.decay - direction * by.lr;
        }
    }
}
