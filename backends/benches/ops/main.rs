//! Times every operation on burn-flex against its definition on the same backend, without and with gradients:
//! `cargo bench -p darkhorse-backends --features flex [-- name]`.
//!
//! A line has medians of interleaved runs. `GFLOP/s` counts the operations of products, threefold for a run with
//! gradients; `GB/s` counts every operand and every result once.
#![allow(
    clippy::disallowed_methods,
    reason = "burn's own product is what ours is held against"
)]

mod measure;

use std::hint::black_box;

use burn::backend::Autodiff;
use burn::tensor::{DType, Distribution, Int, Shape, Tensor, TensorData};
use burn_flex::Flex;
use darkhorse_backends::adamw::{AdamWStep, Moments};
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::experts::Projections;
use darkhorse_backends::paged::{self, Page, Past, Values};
use darkhorse_backends::quantized::{self, Bits, Quantized};
use darkhorse_backends::{
    Ops, adamw, attention, cross_entropy, experts, linear, norm, rope, swiglu, top_k,
};
use measure::{Work, compare, differentiable};
use rayon::prelude::*;

type B = Autodiff<Flex>;

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

/// Gain from choices that name no expert. In place of the definition, equal tokens without such choices are timed, so
/// the last column is the gain; the line's title states its upper bound.
fn choices_of_none() {
    let [hidden, width, count, k] = [512, 256, 20, 4];
    let leaves = |tokens| {
        [
            random([1, tokens, hidden]),
            random([count, hidden, width]),
            random([count, hidden, width]),
            random([count, width, hidden]),
        ]
    };
    for tokens in [1, 8, 2048] {
        let chosen: Vec<i64> = below(count, [tokens * k]).into_data().iter().collect();
        let weights = random([tokens, k]);
        let of = |none: usize, leaves: &[Tensor<B, 3>]| {
            // the first `none` of every token's `k` choices name no expert
            let choices = chosen.iter().enumerate();
            let choices = choices.map(|(slot, expert)| {
                if slot % k < none {
                    count as i64
                } else {
                    *expert
                }
            });
            let indices = TensorData::new(choices.collect(), [tokens, k]);
            let projections = Projections {
                gate: leaves[1].clone(),
                up: leaves[2].clone(),
                down: leaves[3].clone(),
            };
            B::experts(
                leaves[0].clone().reshape([tokens, hidden]),
                projections,
                Tensor::from_data(indices, &Default::default()),
                weights.clone(),
            )
        };
        for none in [0, 1, 2] {
            let (share, gain) = (100 * none / k, k as f64 / (k - none) as f64);
            differentiable(
                &format!(
                    "experts {tokens} x {hidden} x {width}, {share} % none, {gain:.2}x at most"
                ),
                Work::Flop(6.0 * (tokens * (k - none) * hidden * width) as f64),
                &leaves(tokens),
                |leaves| of(none, leaves),
                |leaves| of(0, leaves),
            );
        }
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
        // The causal mask hides half of the scores.
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

/// Products of 1, 5 and 64 rows: the speed of reading weights, compared with a plain sum over the same bytes and with
/// burn-flex's product with f32 weights.
fn decoding() {
    for [input, output] in [[512, 1376], [512, 32_768], [2048, 8192]] {
        let elements = (input * output) as f64;
        let weight = random([input, output]).inner();
        let bytes: Vec<f32> = weight.to_data().to_vec().expect("f32");
        let sum = |part: &[f32]| {
            let mut lanes = [0.0; 128];
            for values in part.chunks_exact(128) {
                lanes
                    .iter_mut()
                    .zip(values)
                    .for_each(|(lane, value)| *lane += value);
            }
            lanes.iter().sum::<f32>()
        };
        let quantized = [Bits::Eight, Bits::Four]
            .map(|bits| Quantized::quantize(weight.clone(), bits).expect("whole blocks"));
        for rows in [1, 5, 64] {
            let x = random([rows, input]).inner();
            let matmul = || drop(x.clone().matmul(weight.clone()));
            for (name, dtype, size) in [("f32", DType::F32, 4.0), ("bf16", DType::BF16, 2.0)] {
                let stored = weight.clone().cast(dtype);
                compare(
                    &format!("decode {rows} x {input} x {output}, {name}, vs matmul"),
                    Work::Bytes(elements * size),
                    || drop(Flex::project(x.clone(), stored.clone())),
                    matmul,
                );
            }
            for (weights, (name, size)) in quantized.iter().zip([("Q8", 1.0625), ("Q4", 0.5625)]) {
                compare(
                    &format!("decode {rows} x {input} x {output}, {name}, vs matmul"),
                    Work::Bytes(elements * size),
                    || drop(Flex::project_quantized(x.clone(), weights.clone())),
                    matmul,
                );
            }
        }
        compare(
            &format!("decode: reading {input} x {output} on all threads and on one"),
            Work::Bytes(elements * 4.0),
            || {
                let part = bytes.len().div_ceil(16 * rayon::current_num_threads());
                black_box(bytes.par_chunks(part).map(sum).sum::<f32>());
            },
            || {
                black_box(sum(&bytes));
            },
        );
    }
    let [hidden, width, count, k] = [512, 1376, 8, 2];
    let stack = |shape| random::<3>(shape).inner();
    let projections = Projections {
        gate: stack([count, hidden, width]),
        up: stack([count, hidden, width]),
        down: stack([count, width, hidden]),
    };
    let bytes = (3 * k * hidden * width) as f64;
    let indices = Tensor::<Flex, 2, Int>::from_data([[6, 1]], &Default::default());
    let [x, weights] = [[1, hidden], [1, k]].map(|shape| random(shape).inner());
    let grouped = || {
        let (x, w) = (x.clone(), weights.clone());
        drop(experts::grouped::experts(
            x,
            projections.clone(),
            indices.clone(),
            w,
        ));
    };
    compare(
        "decode experts 1 x 512 x 1376, 2 of 8, f32, vs grouped",
        Work::Bytes(bytes * 4.0),
        || {
            let (x, w) = (x.clone(), weights.clone());
            drop(Flex::experts(x, projections.clone(), indices.clone(), w));
        },
        grouped,
    );
    for (bits, name, size) in [(Bits::Eight, "Q8", 1.0625), (Bits::Four, "Q4", 0.5625)] {
        let quantize = |stack: &Tensor<Flex, 3>| {
            Quantized::quantize(stack.clone(), bits).expect("whole blocks")
        };
        let quantized = quantized::Projections {
            gate: quantize(&projections.gate),
            up: quantize(&projections.up),
            down: quantize(&projections.down),
        };
        compare(
            &format!("decode experts 1 x 512 x 1376, 2 of 8, {name}, vs grouped"),
            Work::Bytes(bytes * size),
            || {
                let (x, w) = (x.clone(), weights.clone());
                drop(Flex::experts_quantized(
                    x,
                    quantized.clone(),
                    indices.clone(),
                    w,
                ));
            },
            grouped,
        );
    }
}

/// Attention of one new token and of a piece of a prompt over a long past.
fn pasts() {
    for [len, new] in [[2048, 1], [131_072, 1], [32_768, 512]] {
        let [heads, dim, value_dim] = [8, 96, 64];
        let keys: Vec<_> = (0..len / 256)
            .map(|_| Page::Numbers(random([256, 1, dim]).inner()))
            .collect();
        let query = random([new, heads, dim]).inner();
        let past = [Past {
            keys: &keys,
            values: Values::FirstOfKeys(value_dim),
            len,
            new,
        }];
        let options = AttentionOptions::scaled(0.1);
        compare(
            &format!("decode attention, {new} new of {len}, {heads} x {dim}"),
            Work::Flop((2 * len * new * heads * (dim + value_dim)) as f64),
            || drop(Flex::paged_attention(query.clone(), &past, options)),
            || {
                drop(paged::reference::paged_attention(
                    query.clone(),
                    &past,
                    options,
                ))
            },
        );
    }
}

fn main() {
    darkhorse_backends::memory::keep_freed();
    println!("{:<58} {:>29} {:>29}", "", "fast form", "definition");
    // forking is cheap on a thread of the pool
    rayon::scope(|_| {
        decoding();
        pasts();
    });
    products();
    mixtures();
    choices_of_none();
    attentions();
    passes();
    updates();
}
