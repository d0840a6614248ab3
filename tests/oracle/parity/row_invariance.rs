//! A row's result is equal bit for bit alone and in any batch.

use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::Flex;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::experts::Projections;
use darkhorse_backends::paged::{Page, PageFormat, Past, Values};
use darkhorse_backends::quantized::reference::quantize;
use darkhorse_backends::quantized::{self, Bits};
use darkhorse_backends::weight::Weight;

use crate::support::{constant, draws, integers, noise};

const ROWS: usize = 200;
const BATCHES: [usize; 7] = [2, 3, 5, 8, 17, 64, 200];
/// New tokens per sequence: up to more than any number of drafts, but fewer than in a long piece of a prompt.
const NEW: [usize; 6] = [2, 3, 5, 8, 17, 31];

fn bits(data: TensorData) -> Vec<u32> {
    data.iter::<f32>().map(f32::to_bits).collect()
}

/// Asserts that `compute(row, count)` returns the bits of single rows for every batch size in [`BATCHES`].
fn assert_invariant<const D: usize>(case: &str, compute: impl Fn(usize, usize) -> Tensor<Flex, D>) {
    assert_invariant_in(&BATCHES, case, compute);
}

fn assert_invariant_in<const D: usize>(
    batches: &[usize],
    case: &str,
    compute: impl Fn(usize, usize) -> Tensor<Flex, D>,
) {
    let alone: Vec<_> = (0..ROWS)
        .map(|row| bits(compute(row, 1).into_data()))
        .collect();
    assert!(alone[0].iter().any(|bits| *bits != 0));
    for &batch in batches {
        for start in (0..ROWS).step_by(batch) {
            let count = batch.min(ROWS - start);
            let together = bits(compute(start, count).into_data());
            assert_eq!(
                together,
                alone[start..start + count].concat(),
                "{case}: {count} rows from {start}"
            );
        }
    }
}

#[test]
fn products() {
    for [inner, outer] in [[1, 33], [31, 65], [65, 31], [33, 1], [300, 200], [512, 600]] {
        let input: Tensor<Flex, 2> = constant(&noise(1, [ROWS, inner]));
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let case = format!("{inner} x {outer}, {dtype:?}");
            let weight: Tensor<Flex, 2> = constant(&noise(2, [inner, outer]));
            let weight = weight.cast(dtype);
            assert_invariant(&case, |row, count| {
                Flex::project(input.clone().narrow(0, row, count), weight.clone())
            });
            let table: Tensor<Flex, 2> = constant(&noise(2, [outer, inner]));
            let table = table.cast(dtype);
            assert_invariant(&format!("{case}, transposed"), |row, count| {
                Flex::project_transposed(input.clone().narrow(0, row, count), table.clone())
            });
        }
    }
}

#[test]
fn a_product_is_a_chain_of_fused_multiply_adds() {
    let (rows, inner, outer) = (13, 70, 45);
    let [x, w] = [noise(1, [rows, inner]), noise(2, [inner, outer])];
    let (x, w) = (x.to_vec::<f32>().unwrap(), w.to_vec::<f32>().unwrap());
    let mut expected = vec![0.0_f32; rows * outer];
    for row in 0..rows {
        for k in 0..inner {
            for col in 0..outer {
                let sum = &mut expected[row * outer + col];
                *sum = x[row * inner + k].mul_add(w[k * outer + col], *sum);
            }
        }
    }
    let product = Flex::project(
        constant(&noise(1, [rows, inner])),
        constant(&noise(2, [inner, outer])),
    );
    assert_eq!(product.into_data().to_vec::<f32>().unwrap(), expected);
}

#[test]
fn norms_and_activations() {
    let [a, b]: [Tensor<Flex, 2>; 2] = [1, 2].map(|seed| constant(&noise(seed, [ROWS, 65])));
    let weight: Tensor<Flex, 1> = constant(&noise(3, [65]));
    assert_invariant("rms_norm", |row, count| {
        Flex::rms_norm(a.clone().narrow(0, row, count), weight.clone(), 1e-6)
    });
    assert_invariant("swiglu", |row, count| {
        Flex::swiglu(
            a.clone().narrow(0, row, count),
            b.clone().narrow(0, row, count),
        )
    });
}

#[test]
fn experts() {
    let (hidden, width, count, k) = (65, 130, 7, 2);
    let input: Tensor<Flex, 2> = constant(&noise(1, [ROWS, hidden]));
    let weights: Tensor<Flex, 2> = constant(&noise(2, [ROWS, k]));
    // three choices in ten are of no expert, all those of some tokens
    let indices = integers::<Flex, 2>(&draws(8, ROWS * k, count * 3 / 2), [ROWS, k]);
    for dtype in [DType::F32, DType::BF16] {
        let stack = |seed, shape| constant::<Flex, 3>(&noise(seed, shape)).cast(dtype);
        let projections = Projections {
            gate: stack(4, [count, hidden, width]),
            up: stack(5, [count, hidden, width]),
            down: stack(6, [count, width, hidden]),
        };
        assert_invariant(&format!("experts, {dtype:?}"), |row, count| {
            Flex::experts(
                input.clone().narrow(0, row, count),
                projections.clone(),
                indices.clone().narrow(0, row, count),
                weights.clone().narrow(0, row, count),
            )
        });
    }
}

#[test]
fn attention_over_pages() {
    let (before, heads, kv_heads, dim) = (500, 6, 2, 33);
    let query: Tensor<Flex, 3> = constant(&noise(1, [ROWS, heads, dim]));
    for format in [PageFormat::Numbers(DType::F32), PageFormat::EightBits] {
        let [keys, values] = [2_u64, 20].map(|seed| {
            let page = |page| {
                let rows = constant::<Flex, 3>(&noise(seed + page, [100, kv_heads, dim]));
                let page = Page::zeros([100, kv_heads, dim], format, &rows.device());
                Flex::write_rows(page, 0, rows)
            };
            (0..7).map(page).collect::<Vec<_>>()
        });
        let other: Tensor<Flex, 3> = constant(&noise(9, [3, heads, dim]));
        for window in [None, Some(300)] {
            let options = AttentionOptions { scale: 0.2, window };
            let past = |len, new| Past {
                keys: &keys,
                values: Values::Pages(&values),
                len,
                new,
            };
            let case = format!("window {window:?}, {format:?}");
            assert_invariant_in(&NEW, &case, |row, count| {
                let query = query.clone().narrow(0, row, count);
                let own = past(before + row + count, count);
                if row % 3 == 0 {
                    return Flex::paged_attention(query, &[own], options);
                }
                // in a batch with another sequence
                let query = Tensor::cat(vec![query, other.clone()], 0);
                Flex::paged_attention(query, &[own, past(40, 3)], options).narrow(0, 0, count)
            });
            // one token per sequence
            assert_invariant(&case, |row, count| {
                let query = query.clone().narrow(0, row, count);
                let pasts = (row..row + count).map(|row| past(before + row + 1, 1));
                Flex::paged_attention(query, &pasts.collect::<Vec<_>>(), options)
            });
        }
    }
}

#[test]
fn products_of_latent_attention() {
    let (heads, rank, nope, value) = (3, 40, 64, 32);
    let numbers: Tensor<Flex, 2> = constant(&noise(1, [rank, heads * (nope + value)]));
    let blocks = |bits| {
        let blocks = quantize(numbers.clone(), bits, DType::F16);
        Weight::Blocks(blocks.unwrap())
    };
    let query: Tensor<Flex, 3> = constant(&noise(2, [ROWS, heads, nope]));
    let latent: Tensor<Flex, 3> = constant(&noise(3, [ROWS, heads, rank]));
    for weight in [
        Weight::Dense(numbers.clone()),
        blocks(Bits::Eight),
        blocks(Bits::Four),
    ] {
        assert_invariant("absorbed query", |row, count| {
            Flex::absorb_query(query.clone().narrow(0, row, count), weight.clone())
        });
        assert_invariant("expanded value", |row, count| {
            let rows = latent.clone().narrow(0, row, count);
            Flex::expand_value(rows, weight.clone(), value)
        });
    }
}

#[test]
fn quantized_products_and_experts() {
    let (hidden, width, count, k) = (64, 352, 5, 2);
    let input: Tensor<Flex, 2> = constant(&noise(1, [ROWS, hidden]));
    let weights: Tensor<Flex, 2> = constant(&noise(2, [ROWS, k]));
    // three choices in ten are of no expert, all those of some tokens
    let indices = integers::<Flex, 2>(&draws(8, ROWS * k, count * 3 / 2), [ROWS, k]);
    for bits in [Bits::Eight, Bits::Four] {
        let stack = |seed, shape| {
            let weights: Tensor<Flex, 3> = constant(&noise(seed, shape));
            quantize(weights, bits, DType::F16).unwrap()
        };
        let projections = quantized::Projections {
            gate: stack(4, [count, hidden, width]),
            up: stack(5, [count, hidden, width]),
            down: stack(6, [count, width, hidden]),
        };
        assert_invariant(&format!("experts, {bits:?}"), |row, count| {
            Flex::experts_quantized(
                input.clone().narrow(0, row, count),
                projections.clone(),
                indices.clone().narrow(0, row, count),
                weights.clone().narrow(0, row, count),
            )
        });
        let matrix: Tensor<Flex, 2> = constant(&noise(7, [hidden, width]));
        let matrix = quantize(matrix, bits, DType::F16).unwrap();
        assert_invariant(&format!("product, {bits:?}"), |row, count| {
            Flex::project_quantized(input.clone().narrow(0, row, count), matrix.clone())
        });
    }
}
