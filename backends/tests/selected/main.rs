//! Compares every operation on the selected backend with the NdArray backend, forward and backward.
//!
//! Runs on any backend but burn-flex, whose kernels `parity` compares with their definitions: `cargo test
//! -p darkhorse-backends --no-default-features --features vulkan --test selected`. Sizes are awkward on
//! purpose, as are experts with no token and with one.

#![cfg(all(
    any(feature = "wgpu", feature = "cuda", feature = "tch"),
    not(feature = "flex")
))]

macro_rules! gradients {
    ($($input:ident),*) => {
        |grads| vec![$(values($input.grad(grads).expect("it takes part"))),*]
    };
}

mod few;
mod mixers;
mod recurrent;
mod vectors;

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_ndarray::NdArray;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::experts::Projections;
use darkhorse_backends::paged::{Page, PageFormat, Past, Values};
use darkhorse_backends::quantized::{self, Bits, Quantized};
use darkhorse_backends::select::Selected;
use mixers::{
    forgetting, forgetting_token, rotated_halves, shared_heads, short_convolution, unit_rows,
};
use recurrent::{chunk_level_delta, gated_delta_rule, gated_linear_attention};
use vectors::products_with_vectors;

/// A tested backend with gradients.
trait Trained: AutodiffBackend<InnerBackend: Ops> + Ops {}

impl<B: AutodiffBackend<InnerBackend: Ops> + Ops> Trained for B {}

/// Pseudorandom numbers between -1 and 1.
fn floats<B: Trained, const D: usize>(shape: [usize; D], seed: u32) -> Tensor<B, D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
}

fn integers<B: Trained, const D: usize>(values: Vec<i64>, shape: [usize; D]) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn values<B: burn::tensor::backend::Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The output, and the gradients of its weighted sum.
fn passes<B: Trained, const D: usize>(
    output: Tensor<B, D>,
    gradients: impl FnOnce(&B::Gradients) -> Vec<Vec<f32>>,
) -> Vec<Vec<f32>> {
    let weights = floats::<B, D>(output.dims(), 99);
    let mut all = vec![values(output.clone())];
    all.extend(gradients(&(output * weights.detach()).sum().backward()));
    all
}

fn assert_equal(name: &str, oracle: Vec<Vec<f32>>, selected: Vec<Vec<f32>>) {
    assert_eq!(oracle.len(), selected.len(), "{name}");
    for (part, (oracle, selected)) in oracle.iter().zip(&selected).enumerate() {
        assert_eq!(oracle.len(), selected.len(), "{name}, part {part}");
        let scale = oracle
            .iter()
            .fold(1.0f32, |max, value| max.max(value.abs()));
        let differences = oracle.iter().zip(selected).map(|(l, r)| (l - r).abs());
        let worst = differences.fold(0.0f32, f32::max) / scale;
        assert!(worst < 1e-4, "{name}, part {part}: differs by {worst}");
    }
}

macro_rules! equal {
    ($name:ident) => {
        assert_equal(
            stringify!($name),
            $name::<Autodiff<NdArray>>(),
            $name::<Autodiff<Selected>>(),
        )
    };
}

fn experts<B: Trained>([tokens, hidden, width]: [usize; 3], first: i64) -> Vec<Vec<f32>> {
    let count = 6;
    // relative to `first`: expert 4 gets no token, expert 5 one; 6 and 8 name no expert
    let chosen = (0..tokens as i64).flat_map(|token| match token {
        8 => [5, 0],
        9 => [6, 8],
        10 => [3, 6],
        _ => [token % 4, (token % 4 + 1 + token / 4 % 3) % 4],
    });
    let chosen = chosen.map(|expert| first + expert).collect();
    let indices = integers(chosen, [tokens, 2]);
    let input = floats::<B, 2>([tokens, hidden], 1);
    let projections = Projections {
        gate: floats([count, hidden, width], 2),
        up: floats([count, hidden, width], 3),
        down: floats([count, width, hidden], 4),
    };
    let affinities = floats::<B, 2>([tokens, 2], 5);
    let Projections { gate, up, down } = projections.clone();
    let weights = affinities.clone() * affinities.clone() + 0.5;
    let weights = weights.clone() / weights.sum_dim(1);
    let output = input.clone() + B::experts(input.clone(), projections, indices, weights);
    passes(output, gradients!(input, gate, up, down, affinities))
}

fn experts_of_odd_sizes<B: Trained>() -> Vec<Vec<f32>> {
    experts::<B>([17, 13, 10], 0)
}

fn experts_of_even_sizes<B: Trained>() -> Vec<Vec<f32>> {
    experts::<B>([48, 32, 16], 0)
}

fn experts_that_nobody_chooses<B: Trained>() -> Vec<Vec<f32>> {
    experts::<B>([17, 13, 10], 6)
}

fn attention<B: Trained>() -> Vec<Vec<f32>> {
    let (query, key) = (
        floats::<B, 4>([2, 13, 3, 8], 1),
        floats::<B, 4>([2, 13, 3, 8], 2),
    );
    let value = floats::<B, 4>([2, 13, 3, 6], 3);
    let documents = (0..26).map(|at| 1 + (at % 13) / 5).collect();
    let mask = AttentionMask::Documents(integers(documents, [2, 13]));
    let options = AttentionOptions {
        scale: 0.3,
        window: Some(4),
    };
    let output = B::causal_attention(query.clone(), key.clone(), value.clone(), &mask, options);
    passes(output, gradients!(query, key, value))
}

fn rows<B: Trained>() -> Vec<Vec<f32>> {
    let (input, weight) = (floats::<B, 2>([9, 12], 1), floats::<B, 1>([12], 2));
    let matrix = floats::<B, 2>([12, 14], 3);
    let normalized = B::rms_norm(input.clone(), weight.clone(), 1e-6);
    let product = B::project(normalized, matrix.clone());
    let output = B::swiglu(product.clone().narrow(1, 0, 7), product.narrow(1, 7, 7));
    passes(output, gradients!(input, weight, matrix))
}

fn one_row<B: Trained>() -> Vec<Vec<f32>> {
    let (input, matrix) = (floats::<B, 2>([1, 32], 1), floats::<B, 2>([32, 16], 2));
    let product = B::project(input.clone(), matrix.clone());
    let table = floats::<B, 2>([24, 16], 3);
    let output = B::project_transposed(product, table.clone());
    passes(output, gradients!(input, matrix, table))
}

fn rope<B: Trained>() -> Vec<Vec<f32>> {
    let input = floats::<B, 4>([2, 5, 3, 8], 1);
    let (cos, sin) = (floats::<B, 3>([2, 5, 4], 2), floats::<B, 3>([2, 5, 4], 3));
    let output = B::rope(input.clone(), cos.detach(), sin.detach());
    passes(output, gradients!(input))
}

fn cross_entropy<B: Trained>() -> Vec<Vec<f32>> {
    let logits = floats::<B, 2>([11, 23], 1);
    let targets = integers((0..11).map(|row| row * 7 % 23).collect(), [11]);
    passes(
        B::cross_entropy(logits.clone(), targets),
        gradients!(logits),
    )
}

fn top_k<B: Trained>() -> Vec<Vec<f32>> {
    let chosen = B::top_k(floats::<B, 2>([19, 20], 1), 3);
    vec![chosen.into_data().iter::<f32>().collect()]
}

fn in_blocks<B: Trained>() -> Vec<Vec<f32>> {
    let stack = |shape, seed, bits| {
        Quantized::quantize(floats::<B, 3>(shape, seed).detach(), bits).expect("whole blocks")
    };
    let mut all = Vec::new();
    for bits in [Bits::Eight, Bits::Four] {
        let matrix = floats::<B, 2>([13, 64], 2).detach();
        let matrix = Quantized::quantize(matrix, bits).expect("whole blocks");
        let input = floats::<B, 2>([3, 13], 1);
        all.push(values(B::project_quantized(input, matrix)));
        let projections = quantized::Projections {
            gate: stack([4, 32, 64], 3, bits),
            up: stack([4, 32, 64], 4, bits),
            down: stack([4, 64, 32], 5, bits),
        };
        let indices = integers(vec![0, 1, 3, 0, 1, 3], [3, 2]);
        let (input, weights) = (floats::<B, 2>([3, 32], 6), floats::<B, 2>([3, 2], 7));
        let output = B::experts_quantized(input, projections, indices, weights);
        all.push(values(output));
    }
    all
}

fn paged<B: Trained>() -> Vec<Vec<f32>> {
    let pages = |seed: u32, dim| -> Vec<Page<B>> {
        let page = |page| Page::Numbers(floats::<B, 3>([7, 2, dim], seed + page).detach());
        (0..3).map(page).collect()
    };
    let (mut keys, mut more, held) = (pages(1, 8), pages(11, 8), pages(21, 6));
    let rows = || floats::<B, 3>([3, 2, 8], 31).detach();
    keys[1] = B::write_rows(keys[1].clone(), 2, rows());
    let blocks = Page::zeros([7, 2, 8], PageFormat::EightBits, &rows().device());
    more[0] = B::write_rows(blocks, 1, rows());
    let pasts = [
        Past {
            keys: &keys,
            values: Values::Pages(&held),
            len: 17,
            new: 3,
        },
        Past {
            keys: &more,
            values: Values::FirstOfKeys(6),
            len: 5,
            new: 1,
        },
    ];
    let query = floats::<B, 3>([4, 4, 8], 41).detach();
    let whole = AttentionOptions::scaled(0.3);
    let window = AttentionOptions {
        window: Some(4),
        ..whole
    };
    [whole, window]
        .map(|options| values(B::paged_attention(query.clone(), &pasts, options)))
        .to_vec()
}

#[test]
fn every_operation_equals_the_oracle() {
    equal!(rows);
    equal!(one_row);
    equal!(products_with_vectors);
    equal!(rope);
    equal!(attention);
    equal!(cross_entropy);
    equal!(top_k);
    equal!(experts_of_odd_sizes);
    equal!(experts_of_even_sizes);
    equal!(experts_that_nobody_chooses);
    equal!(in_blocks);
    equal!(paged);
}

#[test]
fn what_mixers_are_made_of_equals_the_oracle() {
    equal!(forgetting);
    equal!(forgetting_token);
    equal!(short_convolution);
    equal!(rotated_halves);
    equal!(unit_rows);
    equal!(shared_heads);
}

#[test]
fn every_rule_of_linear_attention_equals_the_oracle() {
    equal!(gated_linear_attention);
    equal!(chunk_level_delta);
    equal!(gated_delta_rule);
}
