//! The operation `experts`.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Int, Tensor, TensorData};
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
    /// Every token takes the first `k` experts; the others get no token.
    Collapsed,
    /// About half of the choices name no expert, and all choices of every third token.
    Partly,
    /// No choice names an expert.
    Nobody,
}

/// `k` distinct experts per token; an index of `experts` or more names none.
fn choices(case: Case) -> Vec<i64> {
    let Case {
        tokens,
        experts,
        k,
        choice,
        ..
    } = case;
    let starts = match choice {
        Choice::Collapsed => vec![0; tokens],
        _ => draws(7, tokens, experts),
    };
    let is_none = |token: usize, at: usize| match choice {
        Choice::Spread | Choice::Collapsed => false,
        Choice::Partly => token % 3 == 1 || (token + at) % 2 == 1,
        Choice::Nobody => true,
    };
    let mut chosen = Vec::with_capacity(tokens * k);
    for (token, start) in starts.into_iter().enumerate() {
        chosen.extend((0..k).map(|at| {
            if is_none(token, at) {
                (experts + token % 4 * 1000) as i64
            } else {
                (start + at as i64) % experts as i64
            }
        }));
    }
    chosen
}

type Mix<B> = fn(Tensor<B, 2>, Projections<B>, Tensor<B, 2, Int>, Tensor<B, 2>) -> Tensor<B, 2>;

fn mixed<B: AutodiffBackend>(op: Mix<B>, case: Case) -> Outcome {
    let Case {
        tokens, hidden, k, ..
    } = case;
    let input = noise(1, [tokens, hidden]);
    differentiated(op, case, &choices(case), &input, &noise(5, [tokens, k]))
}

/// Output and all gradients of `op` for the expert indices `chosen`, of shape `[tokens, k]`.
fn differentiated<B: AutodiffBackend>(
    op: Mix<B>,
    case: Case,
    chosen: &[i64],
    input: &TensorData,
    weights: &TensorData,
) -> Outcome {
    let Case {
        tokens,
        hidden,
        width,
        experts,
        ..
    } = case;
    let input: Tensor<B, 2> = leaf(input);
    let [gate, up]: [Tensor<B, 3>; 2] =
        [2, 3].map(|seed| leaf(&noise(seed, [experts, hidden, width])));
    let down: Tensor<B, 3> = leaf(&noise(4, [experts, width, hidden]));
    let weights: Tensor<B, 2> = leaf(weights);
    let projections = Projections {
        gate: gate.clone(),
        up: up.clone(),
        down: down.clone(),
    };
    let indices = integers(chosen, [tokens, chosen.len() / tokens]);
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
        Case {
            choice: Choice::Partly,
            ..SMALL
        },
        // One expert of two.
        Case {
            tokens: 1,
            choice: Choice::Partly,
            ..SMALL
        },
        Case {
            k: 5,
            choice: Choice::Partly,
            ..SMALL
        },
        Case {
            tokens: 700,
            hidden: 32,
            width: 48,
            experts: 20,
            k: 4,
            choice: Choice::Partly,
        },
        // One expert has all the assignments.
        Case {
            tokens: 700,
            experts: 1,
            k: 1,
            choice: Choice::Partly,
            ..SMALL
        },
        Case {
            tokens: 1,
            choice: Choice::Nobody,
            ..SMALL
        },
        Case {
            choice: Choice::Nobody,
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
        if case.choice == Choice::Nobody {
            continue; // without the node of the experts, nothing leads to what is asked for
        }
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

/// Outputs and gradients of every implementation.
fn forms(case: Case, chosen: &[i64], input: &TensorData, weights: &TensorData) -> [Outcome; 4] {
    [
        differentiated::<Flex>(Flex::experts, case, chosen, input, weights),
        differentiated::<NdArray>(NdArray::experts, case, chosen, input, weights),
        differentiated::<Flex>(grouped::experts, case, chosen, input, weights),
        differentiated::<NdArray>(grouped::experts, case, chosen, input, weights),
    ]
}

#[test]
fn nothing_is_read_or_made_of_a_choice_of_no_expert() {
    let case = Case {
        choice: Choice::Partly,
        ..SMALL
    };
    let (hidden, k) = (case.hidden, case.k);
    for tokens in [1, 7, 700] {
        let case = Case { tokens, ..case };
        let chosen = choices(case);
        let is_none: Vec<bool> = chosen.iter().map(|e| *e >= case.experts as i64).collect();
        let idle: Vec<bool> = is_none.chunks(k).map(|all| !all.contains(&false)).collect();
        // NaN, which stays NaN in a product with zero
        let hole = |data: TensorData, holes: &dyn Fn(usize) -> bool| {
            let shape = data.shape.clone();
            let values = data.iter::<f32>().enumerate();
            let values = values.map(|(at, value)| if holes(at) { f32::NAN } else { value });
            TensorData::new(values.collect(), shape)
        };
        let (input, weights) = (noise(1, [tokens, hidden]), noise(5, [tokens, k]));
        let clean = forms(case, &chosen, &input, &weights);
        let input = hole(input, &|at| idle[at / hidden]);
        let weights = hole(weights, &|at| is_none[at]);
        let holed = forms(case, &chosen, &input, &weights);
        for (form, (clean, holed)) in clean.iter().zip(&holed).enumerate() {
            for ((name, clean), (_, holed)) in clean.0.iter().zip(&holed.0) {
                let case = format!("{name} of {tokens} tokens, form {form}");
                assert!(clean.bytes == holed.bytes, "{case}");
                let nothing: &dyn Fn(usize) -> bool = match *name {
                    "output" | "gradient of the input" => &|at| idle[at / hidden],
                    "gradient of the weights" => &|at| is_none[at],
                    _ => continue,
                };
                for (at, value) in holed.iter::<f32>().enumerate() {
                    assert_eq!(value == 0.0, nothing(at), "{case}: {value} at {at}");
                }
            }
        }
    }
}

#[test]
fn choices_of_no_expert_leave_the_bits_of_the_others() {
    let (k, experts) = (SMALL.k, SMALL.experts as i64);
    for tokens in [1, 65, 700] {
        let case = Case { tokens, ..SMALL };
        let input = noise(1, [tokens, case.hidden]);
        let (chosen, weights) = (choices(case), noise(5, [tokens, k]));
        let alone = forms(case, &chosen, &input, &weights);
        // choices of no expert before, between and after the two
        let spread = |of: &[f32], none: f32| -> Vec<f32> {
            let tokens = of.chunks(k);
            tokens
                .flat_map(|of| [none, of[0], none, of[1], none])
                .collect()
        };
        let chosen: Vec<f32> = chosen.iter().map(|expert| *expert as f32).collect();
        let chosen = spread(&chosen, experts as f32);
        let chosen: Vec<i64> = chosen.iter().map(|expert| *expert as i64).collect();
        let weights: Vec<f32> = weights.iter::<f32>().collect();
        let weights = TensorData::new(spread(&weights, 0.5), [tokens, 5]);
        let among = forms(case, &chosen, &input, &weights);
        for (form, (alone, among)) in alone.iter().zip(&among).enumerate() {
            for ((name, alone), (_, among)) in alone.0.iter().zip(&among.0) {
                let expected = match *name {
                    "gradient of the weights" => {
                        let alone: Vec<f32> = alone.iter::<f32>().collect();
                        TensorData::new(spread(&alone, 0.0), [tokens, 5])
                    }
                    _ => alone.clone(),
                };
                assert!(
                    among.bytes == expected.bytes,
                    "{name} of {tokens} tokens, form {form}"
                );
            }
        }
    }
}

#[test]
fn only_assignments_to_experts_are_kept_for_the_backward_pass() {
    fn kept<B: Ops>(case: Case) -> [usize; 2] {
        let Case {
            tokens,
            hidden,
            width,
            experts,
            k,
            ..
        } = case;
        let projections = Projections {
            gate: constant(&noise(2, [experts, hidden, width])),
            up: constant(&noise(3, [experts, hidden, width])),
            down: constant(&noise(4, [experts, width, hidden])),
        };
        let input = constant::<B, 2>(&noise(1, [tokens, hidden]));
        let indices = integers(&choices(case), [tokens, k]);
        let weights = constant(&noise(5, [tokens, k]));
        let (_, saved) = B::experts_saving(input, projections, indices, weights);
        assert_eq!(saved.gate_product.dims(), saved.up_product.dims());
        saved.gate_product.dims()
    }
    for (choice, assignments) in [
        (Choice::Spread, 130),
        // 22 of 65 tokens have none, and half of the others' 86 choices are none
        (Choice::Partly, 43),
        (Choice::Nobody, 0),
    ] {
        let case = Case { choice, ..SMALL };
        let expected = [assignments, case.width];
        assert_eq!(kept::<burn_flex::Flex>(case), expected, "{choice:?}");
        assert_eq!(kept::<burn_ndarray::NdArray>(case), expected, "{choice:?}");
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
    let never = usize::MAX;
    // every `none`-th choice names no expert
    for (tokens, hidden, width, count, k, none) in [
        (1, 1, 1, 1, 1, never),
        (1, 33, 65, 6, 2, never),
        (2, 31, 33, 4, 4, never),
        (5, 65, 31, 6, 2, never),
        (200, 64, 130, 6, 3, never),
        (1, 33, 65, 6, 2, 1),
        (1, 33, 65, 6, 2, 2),
        (2, 31, 33, 4, 4, 3),
        (5, 65, 31, 6, 2, 1),
        (200, 64, 130, 6, 3, 2),
        (200, 64, 130, 6, 1, 3),
    ] {
        let input: Tensor<B, 2> = constant(&noise(1, [tokens, hidden]));
        let weights: Tensor<B, 2> = constant(&noise(2, [tokens, k]));
        // from three experts on, the last has no token
        let bound = if count > 2 && k < count {
            count - 1
        } else {
            count
        };
        let mut chosen = draws(3, tokens * k, bound);
        for slot in (0..tokens * k).filter(|slot| (slot + 1) % none == 0) {
            chosen[slot] = (count + slot) as i64;
        }
        let indices = integers::<B, 2>(&chosen, [tokens, k]);
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
            let case = format!(
                "{tokens} x {hidden} x {width}, {k} of {count}, every {none}-th none, {dtype:?}"
            );
            // sums of terms of magnitude 20 and more, added in another order
            assert_close(&case, &outcome(output), &outcome(expected), 1e-4);
        }
    }
}
