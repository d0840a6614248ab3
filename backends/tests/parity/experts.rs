//! experts.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Int, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::experts::{Projections, grouped, reference};

use crate::support::{
    Differentiated, Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, draws, integers, leaf,
    noise,
};

#[derive(Debug, Clone, Copy)]
struct Case {
    tokens: usize,
    hidden: usize,
    width: usize,
    experts: usize,
    k: usize,
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Spread,
    /// Every token takes the first `k`; the others have none.
    Collapsed,
}

/// Distinct experts for every token.
fn choices(case: Case) -> Vec<i64> {
    let Case {
        tokens,
        experts,
        k,
        choice,
        ..
    } = case;
    let starts = match choice {
        Choice::Spread => draws(7, tokens, experts),
        Choice::Collapsed => vec![0; tokens],
    };
    starts
        .into_iter()
        .flat_map(|start| (0..k as i64).map(move |i| (start + i) % experts as i64))
        .collect()
}

type Mix<B> = fn(Tensor<B, 2>, Projections<B>, Tensor<B, 2, Int>, Tensor<B, 2>) -> Tensor<B, 2>;

fn mixed<B: AutodiffBackend>(op: Mix<B>, case: Case) -> Outcome {
    let Case {
        tokens,
        hidden,
        width,
        experts,
        k,
        ..
    } = case;
    let input: Tensor<B, 2> = leaf(&noise(1, [tokens, hidden]));
    let [gate, up]: [Tensor<B, 3>; 2] =
        [2, 3].map(|seed| leaf(&noise(seed, [experts, hidden, width])));
    let down: Tensor<B, 3> = leaf(&noise(4, [experts, width, hidden]));
    let weights: Tensor<B, 2> = leaf(&noise(5, [tokens, k]));
    let projections = Projections {
        gate: gate.clone(),
        up: up.clone(),
        down: down.clone(),
    };
    let indices = integers(&choices(case), [tokens, k]);
    Differentiated::new(op(input.clone(), projections, indices, weights.clone()))
        .gradient("gradient of the input", &input)
        .gradient("gradient of the gates", &gate)
        .gradient("gradient of the ups", &up)
        .gradient("gradient of the downs", &down)
        .gradient("gradient of the weights", &weights)
        .outcome()
}

const SMALL: Case = Case {
    tokens: 65,
    hidden: 24,
    width: 10,
    experts: 5,
    k: 2,
    choice: Choice::Spread,
};

#[test]
fn every_form_is_the_sum_over_chosen_experts() {
    let cases = [
        SMALL,
        Case { tokens: 1, ..SMALL },
        Case { k: 1, ..SMALL },
        // All experts.
        Case { k: 5, ..SMALL },
        Case {
            experts: 1,
            k: 1,
            ..SMALL
        },
        // Many without a token.
        Case {
            tokens: 3,
            experts: 40,
            ..SMALL
        },
        Case {
            choice: Choice::Collapsed,
            ..SMALL
        },
        Case {
            tokens: 700,
            hidden: 32,
            width: 48,
            experts: 20,
            ..SMALL
        },
        Case {
            tokens: 700,
            hidden: 32,
            width: 48,
            experts: 20,
            choice: Choice::Collapsed,
            ..SMALL
        },
    ];
    for case in cases {
        let name = format!("{case:?}");
        let expected = mixed::<Flex>(reference::experts, case);
        assert_close(&name, &mixed::<Flex>(Flex::experts, case), &expected, 5e-5);
        assert_close(
            &name,
            &mixed::<NdArray>(NdArray::experts, case),
            &expected,
            ROUGHLY,
        );
        assert_close(
            &name,
            &mixed::<NdArray>(grouped::experts, case),
            &expected,
            ROUGHLY,
        );
        assert_close(
            &name,
            &mixed::<Flex>(grouped::experts, case),
            &expected,
            5e-5,
        );
    }
}

#[test]
fn only_what_is_asked_for_is_differentiated() {
    fn outcome<B: AutodiffBackend + Ops>(of: &'static str) -> Outcome {
        let plain = |seed, shape: [usize; 3]| -> Tensor<B, 3> {
            Tensor::from_data(noise(seed, shape), &Default::default())
        };
        let mut input: Tensor<B, 2> = leaf::<B, 2>(&noise(1, [9, 6])).detach();
        let mut projections = Projections {
            gate: plain(2, [4, 6, 5]),
            up: plain(3, [4, 6, 5]),
            down: plain(4, [4, 5, 6]),
        };
        let mut weights: Tensor<B, 2> = leaf::<B, 2>(&noise(5, [9, 2])).detach();
        match of {
            "input" => input = input.require_grad(),
            "up" => projections.up = projections.up.require_grad(),
            _ => weights = weights.require_grad(),
        }
        let indices = integers(
            &choices(Case {
                tokens: 9,
                experts: 4,
                ..SMALL
            }),
            [9, 2],
        );
        let output = B::experts(input.clone(), projections.clone(), indices, weights.clone());
        let done = Differentiated::new(output);
        match of {
            "input" => done.gradient(of, &input),
            "up" => done.gradient(of, &projections.up),
            _ => done.gradient("weights", &weights),
        }
        .outcome()
    }
    for of in ["input", "up", "weights"] {
        assert_close(of, &outcome::<Flex>(of), &outcome::<NdArray>(of), ROUGHLY);
    }
}

#[test]
fn stacks_may_be_views() {
    fn outcome<B: AutodiffBackend>(op: Mix<B>) -> Outcome {
        let input: Tensor<B, 2> = leaf(&noise(1, [33, 12]));
        // Both first projections in one stack, and the last one transposed.
        let both: Tensor<B, 3> = leaf(&noise(2, [4, 12, 14]));
        let down: Tensor<B, 3> = leaf(&noise(3, [4, 12, 7]));
        let weights: Tensor<B, 2> = leaf(&noise(5, [2, 33]));
        let projections = Projections {
            gate: both.clone().narrow(2, 0, 7),
            up: both.clone().narrow(2, 7, 7),
            down: down.clone().swap_dims(1, 2),
        };
        let indices = integers(
            &choices(Case {
                tokens: 33,
                experts: 4,
                ..SMALL
            }),
            [33, 2],
        );
        let output = op(
            input.clone(),
            projections,
            indices,
            weights.clone().transpose(),
        );
        Differentiated::new(output)
            .gradient("input", &input)
            .gradient("both", &both)
            .gradient("down", &down)
            .gradient("weights", &weights)
            .outcome()
    }
    let expected = outcome::<Flex>(reference::experts);
    assert_close("views", &outcome::<Flex>(Flex::experts), &expected, 1e-5);
    assert_close(
        "views",
        &outcome::<NdArray>(NdArray::experts),
        &expected,
        ROUGHLY,
    );
}

#[test]
fn the_forward_pass_alone_is_the_definition_for_weights_of_any_type() {
    type B = burn_flex::Flex;
    for (tokens, hidden, width, count, k) in [
        (1, 1, 1, 1, 1),
        (1, 33, 65, 6, 2),
        (2, 31, 33, 4, 4),
        (5, 65, 31, 6, 2),
        (200, 64, 130, 6, 3),
    ] {
        let input: Tensor<B, 2> = constant(&noise(1, [tokens, hidden]));
        let weights: Tensor<B, 2> = constant(&noise(2, [tokens, k]));
        // from three experts on, the last has no token
        let bound = if count > 2 && k < count {
            count - 1
        } else {
            count
        };
        let indices = integers::<B, 2>(&draws(3, tokens * k, bound), [tokens, k]);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let stack =
                |seed, shape| -> Tensor<B, 3> { constant::<B, 3>(&noise(seed, shape)).cast(dtype) };
            let projections = Projections {
                gate: stack(4, [count, hidden, width]),
                up: stack(5, [count, hidden, width]),
                down: stack(6, [count, width, hidden]),
            };
            let wide = Projections {
                gate: projections.gate.clone().cast(DType::F32),
                up: projections.up.clone().cast(DType::F32),
                down: projections.down.clone().cast(DType::F32),
            };
            let outcome = |tensor: Tensor<B, 2>| Outcome(vec![("output", tensor.into_data())]);
            let expected =
                reference::experts(input.clone(), wide, indices.clone(), weights.clone());
            let output = B::experts(input.clone(), projections, indices.clone(), weights.clone());
            let case = format!("{tokens} x {hidden} x {width}, {k} of {count}, {dtype:?}");
            // sums of terms of magnitude 20 and more, in another order
            assert_close(&case, &outcome(output), &outcome(expected), 1e-4);
        }
    }
}
