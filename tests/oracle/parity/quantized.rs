//! Products with quantized weights against products with the dequantized weights.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::experts::Projections;
use darkhorse_backends::quantized::reference::dequantize;
use darkhorse_backends::quantized::{self, Bits, Quantized};

use crate::support::{
    Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, draws, integers, noise,
};

const BITS: [Bits; 2] = [Bits::Eight, Bits::Four];

fn blocks<B: Backend, const D: usize>(seed: u64, shape: [usize; D], bits: Bits) -> Quantized<B, D> {
    Quantized::quantize(constant(&noise(seed, shape)), bits).unwrap()
}

#[test]
fn products_equal_those_with_the_dequantized_weights_to_the_bit() {
    for bits in BITS {
        for [inner, outer] in [[1, 32], [31, 64], [65, 96], [300, 544]] {
            for rows in [1, 2, 3, 5, 17, 63, 65, 200] {
                let case = format!("{rows} x {inner} x {outer}, {bits:?}");
                let input: Tensor<burn_flex::Flex, 2> = constant(&noise(2, [rows, inner]));
                let weights: Quantized<burn_flex::Flex, 2> = blocks(1, [inner, outer], bits);
                let expected = burn_flex::Flex::project(input.clone(), dequantize(weights.clone()));
                let product = burn_flex::Flex::project_quantized(input, weights);
                assert_eq!(product.into_data(), expected.clone().into_data(), "{case}");

                let outcome = |data: TensorData| Outcome(vec![("output", data)]);
                let default = NdArray::project_quantized(
                    constant(&noise(2, [rows, inner])),
                    blocks(1, [inner, outer], bits),
                );
                let expected = outcome(expected.into_data());
                assert_close(&case, &outcome(default.into_data()), &expected, ROUGHLY);
                let differentiated = Flex::project_quantized(
                    constant(&noise(2, [rows, inner])),
                    blocks(1, [inner, outer], bits),
                );
                assert_close(&case, &outcome(differentiated.into_data()), &expected, 1e-5);
            }
        }
    }
}

#[test]
fn experts_equal_those_with_the_dequantized_weights_to_the_bit() {
    type B = burn_flex::Flex;
    let (count, hidden, width) = (5, 64, 96);
    for bits in BITS {
        let projections = quantized::Projections::<B> {
            gate: blocks(1, [count, hidden, width], bits),
            up: blocks(2, [count, hidden, width], bits),
            down: blocks(3, [count, width, hidden], bits),
        };
        // the last expert has no token in the first four cases; in the others, an index of `count` or more names none
        for (tokens, k, bound) in [
            (1, 1, count - 1),
            (1, 2, count - 1),
            (3, 5, count - 1),
            (65, 2, count - 1),
            (1, 5, 2 * count),
            (65, 2, 2 * count),
            (65, 2, 1 << 20),
        ] {
            let input: Tensor<B, 2> = constant(&noise(4, [tokens, hidden]));
            let weights: Tensor<B, 2> = constant(&noise(5, [tokens, k]));
            let indices = integers(&draws(6, tokens * k, bound), [tokens, k]);
            let dense = Projections {
                gate: dequantize(projections.gate.clone()),
                up: dequantize(projections.up.clone()),
                down: dequantize(projections.down.clone()),
            };
            let expected = B::experts(input.clone(), dense, indices.clone(), weights.clone());
            let output = B::experts_quantized(input, projections.clone(), indices, weights);
            assert_eq!(
                output.into_data(),
                expected.into_data(),
                "{bits:?}, {tokens} below {bound}"
            );
        }
    }
}
