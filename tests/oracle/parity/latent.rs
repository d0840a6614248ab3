//! The two per-head products of latent attention.

use burn::tensor::{DType, Tensor};
use burn_flex::Flex;
use darkhorse_backends::quantized::Bits;
use darkhorse_backends::quantized::reference::{dequantize, quantize};
use darkhorse_backends::weight::Weight;
use darkhorse_backends::{Ops, latent};

use crate::support::{constant, noise};

/// Tokens, heads, rank, and width of a key and of a value per head.
const SIZES: [[usize; 5]; 5] = [
    [1, 1, 1, 1, 1],
    [1, 3, 33, 31, 17],
    [7, 2, 16, 8, 12],
    [65, 4, 64, 64, 65],
    [3, 16, 128, 96, 64],
];

fn close(case: &str, got: Tensor<Flex, 3>, expected: Tensor<Flex, 3>) {
    assert_eq!(got.dims(), expected.dims(), "{case}");
    let difference: f32 = (got - expected).abs().max().into_scalar();
    assert!(difference < 2e-4, "{case}: {difference}");
}

#[test]
fn both_products_equal_their_definition_with_weights_of_any_type() {
    for [tokens, heads, rank, nope, value] in SIZES {
        for dtype in [DType::F32, DType::BF16] {
            let case = format!("{tokens} tokens, {heads} heads, rank {rank}, {dtype:?}");
            let weight: Tensor<Flex, 2> = constant(&noise(1, [rank, heads * (nope + value)]));
            let weight = weight.cast(dtype);
            let numbers = Weight::Dense(weight.clone().cast(DType::F32));
            let weight = Weight::Dense(weight);
            // a view of a wider tensor, as in attention
            let query: Tensor<Flex, 3> = constant(&noise(2, [tokens, heads, nope + 3]));
            let query = query.narrow(2, 0, nope);
            close(
                &case,
                Flex::absorb_query(query.clone(), weight.clone()),
                latent::reference::absorb_query(query, numbers.clone()),
            );
            let seen: Tensor<Flex, 3> = constant(&noise(3, [tokens, heads, rank]));
            close(
                &case,
                Flex::expand_value(seen.clone(), weight, value),
                latent::reference::expand_value(seen, numbers, value),
            );
        }
    }
}

/// Products with blocks equal those with the dequantized weights: bit for bit if no block spans two heads, else within
/// a tolerance.
#[test]
fn blocks_equal_the_numbers_that_they_stand_for() {
    for [tokens, heads, rank, nope, value] in [
        [1, 3, 33, 32, 64],
        [7, 2, 200, 128, 96],
        [65, 4, 64, 64, 64],
        [5, 4, 16, 8, 16],
    ] {
        for bits in [Bits::Eight, Bits::Four] {
            let case = format!("{tokens} tokens, {heads} heads, rank {rank}, {bits:?}");
            let weight: Tensor<Flex, 2> = constant(&noise(1, [rank, heads * (nope + value)]));
            let blocks = quantize(weight, bits, DType::F16).unwrap();
            let numbers = Weight::Dense(dequantize(blocks.clone()));
            let blocks = Weight::Blocks(blocks);
            let query: Tensor<Flex, 3> = constant(&noise(2, [tokens, heads, nope]));
            let seen: Tensor<Flex, 3> = constant(&noise(3, [tokens, heads, rank]));
            let both = |weight: Weight<Flex, 2>| {
                let query = Flex::absorb_query(query.clone(), weight.clone());
                [query, Flex::expand_value(seen.clone(), weight, value)]
            };
            let [found, expected] = [both(blocks), both(numbers)];
            for (found, expected) in found.into_iter().zip(expected) {
                if nope.is_multiple_of(32) {
                    assert_eq!(found.into_data(), expected.into_data(), "{case}")
                } else {
                    close(&case, found, expected)
                }
            }
        }
    }
}
