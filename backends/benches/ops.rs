//! Every operation on burn-flex against its definition on the same backend, forward and with its
//! gradients: `cargo bench -p darkhorse-backends --features flex [-- name]`.
//!
//! A line has medians of interleaved runs. `GFLOP/s` counts the products, three times for a run with
//! gradients; `GB/s` counts every operand and every result once.

use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use burn::tensor::{Distribution, Int, Shape, Tensor, TensorData};
use burn_flex::Flex;
use darkhorse_backends::adamw::{AdamWStep, Moments};
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::experts::Projections;
use darkhorse_backends::{
    Ops, adamw, attention, cross_entropy, experts, linear, norm, rope, swiglu, top_k,
};

type B = Autodiff<Flex>;

/// Interleaved runs of each form.
const RUNS: usize = 11;

/// What a run works.
#[derive(Clone, Copy)]
enum Work {
    /// Floating-point operations.
    Flop(f64),
    /// Bytes in and out.
    Bytes(f64),
}

impl Work {
    fn times(self, factor: f64) -> Self {
        match self {
            Self::Flop(flop) => Self::Flop(flop * factor),
            Self::Bytes(bytes) => Self::Bytes(bytes * factor),
        }
    }

    fn rate(self, time: Duration) -> String {
        match self {
            Self::Flop(flop) => format!("{:8.1} GFLOP/s", flop / time.as_secs_f64() / 1e9),
            Self::Bytes(bytes) => format!("{:8.1} GB/s   ", bytes / time.as_secs_f64() / 1e9),
        }
    }
}

/// Runs both forms in turn and prints a line.
fn compare(case: &str, work: Work, mut fast: impl FnMut(), mut definition: impl FnMut()) {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    if filter.is_some_and(|filter| !case.contains(&filter)) {
        return;
    }
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    fast();
    definition();
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..RUNS {
        times[0].push(time(&mut fast));
        times[1].push(time(&mut definition));
    }
    let [fast, definition] = times.map(|mut times| {
        times.sort();
        times[RUNS / 2]
    });
    println!(
        "{case:<58} {:>9.3} ms {} {:>9.3} ms {} {:>6.2}x",
        fast.as_secs_f64() * 1e3,
        work.rate(fast),
        definition.as_secs_f64() * 1e3,
        work.rate(definition),
        definition.as_secs_f64() / fast.as_secs_f64(),
    );
}

/// An operation without and with gradients, of all `leaves`.
fn differentiable<const D: usize, const E: usize>(
    case: &str,
    work: Work,
    leaves: &[Tensor<B, E>],
    fast: impl Fn(&[Tensor<B, E>]) -> Tensor<B, D>,
    definition: impl Fn(&[Tensor<B, E>]) -> Tensor<B, D>,
) {
    let plain: Vec<_> = leaves.iter().map(|leaf| leaf.clone().detach()).collect();
    compare(
        case,
        work,
        || drop(fast(&plain)),
        || drop(definition(&plain)),
    );
    let tracked: Vec<_> = plain.into_iter().map(Tensor::require_grad).collect();
    compare(
        &format!("{case} + gradients"),
        work.times(3.0),
        || drop(fast(&tracked).backward()),
        || drop(definition(&tracked).backward()),
    );
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(
        Shape::from(shape),
        Distribution::Normal(0.0, 1.0),
        &Default::default(),
    )
}

fn below<const D: usize>(bound: usize, shape: [usize; D]) -> Tensor<B, D, Int> {
    let count = shape.iter().product::<usize>();
    let values: Vec<i64> = (0..count)
        .map(|i| ((i * 7919 + i / 3) % bound) as i64)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn products() {
    for [tokens, input, output] in [
        [2048, 128, 512],
        [2048, 512, 128],
        [4096, 512, 512],
        [4096, 256, 4096],
        [2048, 512, 32_768],
    ] {
        differentiable(
            &format!("linear {tokens} x {input} x {output}"),
            Work::Flop(2.0 * (tokens * input * output) as f64),
            &[random([tokens, input]), random([input, output])],
            |leaves| B::project(leaves[0].clone(), leaves[1].clone()),
            |leaves| linear::reference::linear(leaves[0].clone(), leaves[1].clone()),
        );
    }
}

fn mixtures() {
    for [tokens, hidden, width, count, k] in [
        [2048, 128, 64, 20, 2],
        [4096, 512, 256, 20, 2],
        [4096, 384, 384, 20, 2],
        [2048, 256, 512, 8, 2],
    ] {
        let indices = below(count, [tokens, k]);
        let weights = random([tokens, k]);
        let leaves = [
            random([1, tokens, hidden]),
            random([count, hidden, width]),
            random([count, hidden, width]),
            random([count, width, hidden]),
        ];
        let of = |leaves: &[Tensor<B, 3>]| {
            let projections = Projections {
                gate: leaves[1].clone(),
                up: leaves[2].clone(),
                down: leaves[3].clone(),
            };
            let input = leaves[0].clone().reshape([tokens, hidden]);
            (input, projections, indices.clone(), weights.clone())
        };
        differentiable(
            &format!("experts {tokens} x {hidden} x {width}, {k} of {count}, vs grouped"),
            Work::Flop(6.0 * (tokens * k * hidden * width) as f64),
            &leaves,
            |leaves| {
                let (input, projections, indices, weights) = of(leaves);
                B::experts(input, projections, indices, weights)
            },
            |leaves| {
                let (input, projections, indices, weights) = of(leaves);
                experts::grouped::experts(input, projections, indices, weights)
            },
        );
    }
}

fn attentions() {
    for [batch, seq, heads, dim] in [
        [16, 128, 4, 32],
        [8, 256, 8, 64],
        [8, 512, 8, 64],
        [4, 512, 6, 96],
    ] {
        let shape = [batch, seq, heads, dim];
        let options = AttentionOptions::scaled(1.0 / (dim as f64).sqrt());
        let mask = AttentionMask::Causal;
        // Half of the scores are hidden.
        let flop = 2.0 * (batch * heads * seq * seq * dim) as f64;
        differentiable(
            &format!("attention {batch} x {seq} x {heads} x {dim}"),
            Work::Flop(flop),
            &[random(shape), random(shape), random(shape)],
            |leaves| {
                let [q, k, v] = [0, 1, 2].map(|i| leaves[i].clone());
                B::causal_attention(q, k, v, &mask, options)
            },
            |leaves| {
                let [q, k, v] = [0, 1, 2].map(|i| leaves[i].clone());
                attention::reference::attention(q, k, v, &mask, options)
            },
        );
    }
}

fn passes() {
    let [tokens, width] = [4096, 512];
    let bytes = |tensors: usize| Work::Bytes((tensors * tokens * width * 4) as f64);
    let scale = random([width]);
    differentiable(
        &format!("rms_norm {tokens} x {width}"),
        bytes(2),
        &[random([tokens, width])],
        |leaves| B::rms_norm(leaves[0].clone(), scale.clone(), 1e-6),
        |leaves| norm::reference::rms_norm(leaves[0].clone(), scale.clone(), 1e-6),
    );
    differentiable(
        &format!("swiglu {tokens} x {width}"),
        bytes(3),
        &[random([tokens, width]), random([tokens, width])],
        |leaves| B::swiglu(leaves[0].clone(), leaves[1].clone()),
        |leaves| swiglu::reference::swiglu(leaves[0].clone(), leaves[1].clone()),
    );
    let angles: Tensor<B, 3> = random([16, 256, 32]);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    differentiable(
        "rope 16 x 256 x 8 x 64",
        bytes(2),
        &[random([16, 256, 8, 64])],
        |leaves| B::rope(leaves[0].clone(), cos.clone(), sin.clone()),
        |leaves| rope::reference::rope(leaves[0].clone(), cos.clone(), sin.clone()),
    );
    for [tokens, vocab] in [[4096, 2048], [2048, 32_768]] {
        let targets = below(vocab, [tokens]);
        differentiable(
            &format!("cross_entropy {tokens} x {vocab}"),
            Work::Bytes((tokens * vocab * 4) as f64),
            &[random([tokens, vocab])],
            |leaves| B::cross_entropy(leaves[0].clone(), targets.clone()),
            |leaves| cross_entropy::reference::cross_entropy(leaves[0].clone(), targets.clone()),
        );
    }
    let scores: Tensor<B, 2> = random([4096, 20]);
    compare(
        "top_k 4096 x 20, 2",
        Work::Bytes((4096 * 20 * 4) as f64),
        || drop(B::top_k(scores.clone(), 2)),
        || drop(top_k::reference::top_k(scores.clone(), 2)),
    );
}

fn updates() {
    type State = (Tensor<Flex, 1>, Moments<Flex>);
    let elements = 8 << 20;
    let tensor = || random([elements]).inner();
    let state = || {
        Some((
            tensor(),
            Moments {
                first: tensor(),
                second: tensor().abs(),
            },
        ))
    };
    let gradient = tensor();
    let step = AdamWStep {
        lr: 1e-3,
        beta_1: 0.9,
        beta_2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        time: 10,
        gradient_scale: 0.5,
    };
    let run = |state: &mut Option<State>, fast: bool| {
        let Some((parameter, moments)) = state.take() else {
            return;
        };
        let update = if fast {
            Flex::adamw
        } else {
            adamw::reference::adamw
        };
        *state = Some(update(parameter, gradient.clone(), moments, &step));
    };
    let (mut fast, mut definition) = (state(), state());
    compare(
        "adamw 8 Mi",
        Work::Bytes((elements * 4 * 7) as f64),
        || run(&mut fast, true),
        || run(&mut definition, false),
    );
}

fn main() {
    println!("{:<58} {:>29} {:>29}", "", "fast form", "definition");
    products();
    mixtures();
    attentions();
    passes();
    updates();
}
