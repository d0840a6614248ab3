//! The operation `adamw`.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use darkhorse_backends::adamw::{AdamWStep, Moments, reference};

use crate::support::{Flex, Outcome, assert_close, constant, noise};

type Update<B> =
    fn(Tensor<B, 1>, Tensor<B, 1>, Moments<B>, &AdamWStep) -> (Tensor<B, 1>, Moments<B>);

/// Parameters and moments after three steps.
fn updated<B: Backend>(op: Update<B>, elements: usize) -> Outcome {
    let zeros = || constant::<B, 1>(&noise(1, [elements])).zeros_like();
    let mut parameter = constant(&noise(1, [elements]));
    let mut moments = Moments {
        first: zeros(),
        second: zeros(),
    };
    for time in 1..=3 {
        let step = AdamWStep {
            lr: 0.01 * time as f64,
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            time,
            gradient_scale: 0.3,
        };
        // A strided gradient.
        let gradient: Tensor<B, 2> = constant(&noise(10 + time, [elements, 2]));
        let gradient = gradient.narrow(1, 0, 1).reshape([elements]);
        (parameter, moments) = op(parameter, gradient, moments, &step);
    }
    let Moments { first, second } = moments;
    let named = [
        ("parameter", parameter),
        ("first", first),
        ("second", second),
    ];
    Outcome(
        named
            .into_iter()
            .map(|(name, tensor)| (name, tensor.into_data()))
            .collect(),
    )
}

#[test]
fn adamw_follows_its_definition() {
    for elements in [1, 15, 1000, 50_001] {
        let case = format!("{elements} elements");
        let expected = updated::<Flex>(reference::adamw, elements);
        assert_close(
            &case,
            &updated::<Flex>(Flex::adamw, elements),
            &expected,
            1e-6,
        );
        let plain = updated::<burn_flex::Flex>(burn_flex::Flex::adamw, elements);
        assert_close(&case, &plain, &expected, 1e-6);
    }
}

#[test]
fn a_parameter_that_others_hold_does_not_change() {
    let data = noise(1, [100]);
    let held: Tensor<burn_flex::Flex, 1> = constant(&data);
    let moments = Moments {
        first: held.zeros_like(),
        second: held.zeros_like(),
    };
    let step = AdamWStep {
        lr: 0.1,
        beta_1: 0.9,
        beta_2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        time: 1,
        gradient_scale: 1.0,
    };
    let (new, _) = burn_flex::Flex::adamw(held.clone(), held.clone(), moments, &step);
    assert_eq!(held.into_data(), data);
    assert_ne!(new.into_data(), data);
}
