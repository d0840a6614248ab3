//! Experts and a shared SwiGLU in one operation, and several projections of one input.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use darkhorse_backends::feed_forward::{Gated, Routed, reference};
use darkhorse_backends::quantized::{Bits, Quantized};
use darkhorse_backends::weight::Weight;
use darkhorse_backends::{Ops, awake};

use crate::support::{
    Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, draws, integers, noise,
};

type Plain = burn_flex::Flex;

/// Storage of the weights.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Dense(DType),
    Blocks(Bits),
}

const KINDS: [Kind; 4] = [
    Kind::Dense(DType::F32),
    Kind::Dense(DType::BF16),
    Kind::Blocks(Bits::Eight),
    Kind::Blocks(Bits::Four),
];

fn weight<B: Backend, const D: usize>(seed: u64, shape: [usize; D], kind: Kind) -> Weight<B, D> {
    let numbers = constant(&noise(seed, shape));
    match kind {
        Kind::Dense(dtype) => Weight::Dense(numbers.cast(dtype)),
        Kind::Blocks(bits) => Weight::Blocks(Quantized::quantize(numbers, bits).unwrap()),
    }
}

fn gated<B: Backend, const D: usize>(
    seed: u64,
    [gate, down]: [[usize; D]; 2],
    kind: Kind,
) -> Gated<B, D> {
    Gated {
        gate: weight(seed, gate, kind),
        up: weight(seed + 1, gate, kind),
        down: weight(seed + 2, down, kind),
    }
}

#[derive(Clone, Copy)]
struct Case {
    tokens: usize,
    k: usize,
    routed: Option<Kind>,
    shared: Option<Kind>,
    /// Upper bound of the drawn expert indices; an index of [`COUNT`](Self::COUNT) or more names no expert.
    bound: usize,
}

impl Case {
    const HIDDEN: usize = 64;
    const COUNT: usize = 5;

    fn choices(&self) -> Vec<i64> {
        draws(6, self.tokens * self.k, self.bound)
    }

    fn compute<B: Ops>(
        &self,
        operation: impl Fn(Tensor<B, 2>, Option<Routed<B>>, Option<Gated<B, 2>>) -> Tensor<B, 2>,
    ) -> TensorData {
        let (hidden, count) = (Self::HIDDEN, Self::COUNT);
        let Self { tokens, k, .. } = *self;
        let routed = self.routed.map(|kind| Routed {
            experts: gated(1, [[count, hidden, 160], [count, 160, hidden]], kind),
            indices: integers(&self.choices(), [tokens, k]),
            weights: constant(&noise(5, [tokens, k])),
        });
        let shared = self
            .shared
            .map(|kind| gated(7, [[hidden, 96], [96, hidden]], kind));
        // small, so that outputs are of magnitude 1
        let input: Tensor<B, 2> = constant(&noise(4, [tokens, hidden]));
        operation(input.mul_scalar(0.1), routed, shared).into_data()
    }
}

#[test]
fn experts_and_shared_ones_together_have_the_bits_of_each_alone() {
    for kind in KINDS {
        for (routed, shared) in [
            (Some(kind), Some(kind)),
            (Some(kind), None),
            (None, Some(kind)),
            (Some(Kind::Blocks(Bits::Eight)), Some(kind)),
        ] {
            // the last expert has no token
            let all = Case::COUNT - 1;
            let some = 2 * Case::COUNT;
            for (tokens, k, bound) in [
                (1, 1, all),
                (1, 2, all),
                (3, 5, all),
                (9, 2, all),
                (65, 2, all),
                (1, 5, some),
                (9, 2, some),
                (65, 2, some),
            ] {
                let case = Case {
                    tokens,
                    k,
                    routed,
                    shared,
                    bound,
                };
                let expected = case.compute::<Plain>(reference::feed_forward);
                let name = format!("{tokens} tokens, {routed:?} below {bound} and {shared:?}");
                assert_eq!(case.compute(Plain::feed_forward), expected, "{name}");
                let team = awake(|| case.compute(Plain::feed_forward));
                assert_eq!(team, expected, "{name}, by a team");
                if let Kind::Dense(DType::BF16) = kind {
                    continue; // NdArray has none
                }
                let outcome = |data| Outcome(vec![("output", data)]);
                let [default, differentiated] = [
                    case.compute(NdArray::feed_forward),
                    case.compute(Flex::feed_forward),
                ];
                assert_close(
                    &name,
                    &outcome(default),
                    &outcome(expected.clone()),
                    ROUGHLY,
                );
                assert_close(&name, &outcome(differentiated), &outcome(expected), ROUGHLY);
            }
        }
    }
}

#[test]
fn a_token_without_experts_has_the_bits_of_the_shared_one_alone() {
    for kind in KINDS {
        let [some, nobody] = [2 * Case::COUNT, 1 << 20];
        for (tokens, k, bound) in [
            (1, 1, nobody),
            (1, 4, nobody),
            (65, 2, some),
            (65, 2, nobody),
        ] {
            let with = |routed, shared| {
                let case = Case {
                    tokens,
                    k,
                    routed,
                    shared,
                    bound,
                };
                let rows = |data: TensorData| -> Vec<f32> { data.iter::<f32>().collect() };
                let [alone, team] = [
                    case.compute(Plain::feed_forward),
                    awake(|| case.compute(Plain::feed_forward)),
                ];
                assert_eq!(alone, team);
                (case.choices(), rows(alone))
            };
            let (choices, together) = with(Some(kind), Some(kind));
            let (_, routed) = with(Some(kind), None);
            let (_, shared) = with(None, Some(kind));
            let mut idle = 0;
            let rows = together
                .chunks(Case::HIDDEN)
                .zip(routed.chunks(Case::HIDDEN));
            for (token, (together, routed)) in rows.enumerate() {
                let chosen = &choices[token * k..][..k];
                if chosen.iter().any(|expert| *expert < Case::COUNT as i64) {
                    assert!(routed.iter().any(|value| *value != 0.0));
                    continue;
                }
                idle += 1;
                assert!(routed.iter().all(|value| *value == 0.0), "token {token}");
                assert_eq!(
                    together,
                    &shared[token * Case::HIDDEN..][..Case::HIDDEN],
                    "token {token}"
                );
            }
            assert!(idle > 0, "{tokens} tokens below {bound}");
        }
    }
}

#[test]
fn projections_of_one_input_have_the_bits_of_each_alone() {
    let widths = [32, 96, 512, 608];
    for rows in [1, 2, 8, 9, 65] {
        for inner in [1, 31, 300] {
            let input: Tensor<Plain, 2> = constant(&noise(1, [rows, inner]));
            let weights: Vec<_> = KINDS
                .iter()
                .zip(widths)
                .map(|(kind, width)| weight::<Plain, 2>(width as u64, [inner, width], *kind))
                .collect();
            let alone = |weight: &Weight<Plain, 2>| weight.clone().project(input.clone());
            let expected: Vec<_> = weights.iter().map(|it| alone(it).into_data()).collect();
            let project = || Plain::project_each(input.clone(), weights.clone());
            for together in [project(), awake(project)] {
                let together: Vec<_> = together.into_iter().map(Tensor::into_data).collect();
                assert_eq!(together, expected, "{rows} x {inner}");
            }
        }
    }
}
