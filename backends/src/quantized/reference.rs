//! Reference implementation: quantization on the host, and back in burn's operations.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, Int, Tensor, TensorData};

use super::{BLOCK, Bits, NotInBlocks, Projections, Quantized};
use crate::Ops;

/// Largest finite f16.
const LARGEST_SCALE: f32 = 65_504.0;

/// Quantizes numbers in blocks on the host. Returns words and scales; scales are rounded to f16 and stored as
/// `scales`.
///
/// # Errors
///
/// If the last dimension is not a multiple of [`BLOCK`].
pub fn to_blocks<const D: usize>(
    numbers: &[f32],
    mut shape: [usize; D],
    bits: Bits,
    scales: DType,
) -> Result<[TensorData; 2], NotInBlocks> {
    let width = shape[D - 1];
    if !width.is_multiple_of(BLOCK) {
        return Err(NotInBlocks { width });
    }
    let mut words = Vec::with_capacity(numbers.len() / BLOCK * bits.words_per_block());
    let mut factors = Vec::with_capacity(numbers.len() / BLOCK);
    for block in numbers.chunks_exact(BLOCK) {
        let scale = scale_of(block, bits).clamp(-LARGEST_SCALE, LARGEST_SCALE);
        // rounded to f16 in any storage type, so that blocks are equal everywhere
        let scale = burn::tensor::f16::from_f32(scale).to_f32();
        factors.push(scale);
        pack(block, scale, bits, &mut words);
    }
    shape[D - 1] = width / BLOCK * bits.words_per_block();
    let words = TensorData::new(words, shape);
    shape[D - 1] = width / BLOCK;
    Ok([words, TensorData::new(factors, shape).convert_dtype(scales)])
}

/// Quantizes a tensor in blocks, with scales stored as `scales`.
///
/// # Errors
///
/// If the last dimension is not a multiple of [`BLOCK`].
pub fn quantize<B: Backend, const D: usize>(
    weight: Tensor<B, D>,
    bits: Bits,
    scales: DType,
) -> Result<Quantized<B, D>, NotInBlocks> {
    let (shape, device) = (weight.dims(), weight.device());
    let numbers = weight.into_data().convert::<f32>();
    let numbers = numbers.as_slice::<f32>();
    let numbers = numbers.expect("they were just converted");
    let [words, factors] = to_blocks(numbers, shape, bits, scales)?;
    Ok(Quantized {
        values: Tensor::from_data(words, (&device, DType::I32)),
        scales: Tensor::from_data(factors, (&device, scales)),
        bits,
    })
}

/// Quantizes f32 in blocks of 8 bits on the tensor's device, for values computed while a model runs.
///
/// # Panics
///
/// If the last dimension is not a multiple of [`BLOCK`].
pub fn to_eight_bits<B: Backend, const D: usize>(
    numbers: Tensor<B, D>,
    scales: DType,
) -> Quantized<B, D> {
    let mut shape = numbers.dims();
    let width = shape[D - 1];
    assert!(width.is_multiple_of(BLOCK), "rows are {width} wide");
    let blocks = shape.iter().product::<usize>() / BLOCK;
    let numbers = numbers.reshape([blocks, BLOCK]);
    let most = numbers.clone().abs().max_dim(1);
    let largest = f64::from(LARGEST_SCALE);
    let factors = most.div_scalar(127.0).clamp_max(largest).cast(scales);
    let by = factors.clone().cast(DType::F32);
    // a block of zeros has scale zero
    let by = by.clone().mask_fill(by.equal_elem(0.0), 1.0);
    let levels = (numbers * by.recip()).round().clamp(-127.0, 127.0);
    let bytes = levels.int().cast(DType::I32).reshape([blocks * 8, 4]);
    let byte = |at: usize, weight: i32| {
        let byte = bytes.clone().narrow(1, at, 1);
        let byte = match at {
            3 => byte,
            _ => byte.bitwise_and_scalar(0xff.elem()),
        };
        byte.mul_scalar(weight)
    };
    let words = byte(0, 1) + byte(1, 1 << 8) + byte(2, 1 << 16) + byte(3, 1 << 24);
    shape[D - 1] = width / BLOCK * Bits::Eight.words_per_block();
    let values = words.reshape(shape);
    shape[D - 1] = width / BLOCK;
    Quantized {
        values,
        scales: factors.reshape(shape),
        bits: Bits::Eight,
    }
}

fn scale_of(block: &[f32], bits: Bits) -> f32 {
    let larger = |most: f32, &number: &f32| {
        if number.abs() > most.abs() {
            number
        } else {
            most
        }
    };
    let most = block.iter().fold(0.0, larger);
    match bits {
        Bits::Eight => most.abs() / 127.0,
        Bits::Four => most / -8.0,
    }
}

fn pack(block: &[f32], scale: f32, bits: Bits, words: &mut Vec<i32>) {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let integer = |number: f32| (number * inverse).round_ties_even();
    let word = |bytes: [u8; 4]| i32::from_le_bytes(bytes);
    match bits {
        Bits::Eight => words.extend(block.chunks_exact(4).map(|four| {
            let byte = |at: usize| integer(four[at]).clamp(-127.0, 127.0) as i8 as u8;
            word([0, 1, 2, 3].map(byte))
        })),
        Bits::Four => {
            let (low, high) = block.split_at(BLOCK / 2);
            let level = |number: f32| (integer(number) + 8.0).clamp(0.0, 15.0) as u8;
            let pairs = low.chunks_exact(4).zip(high.chunks_exact(4));
            words.extend(pairs.map(|(low, high)| {
                word([0, 1, 2, 3].map(|at| level(low[at]) | level(high[at]) << 4))
            }));
        }
    }
}

/// Converts quantized values to f32.
pub fn dequantize<B: Backend, const D: usize>(quantized: Quantized<B, D>) -> Tensor<B, D> {
    let Quantized {
        values,
        scales,
        bits,
    } = quantized;
    let mut shape = scales.dims();
    let width = shape[D - 1] * BLOCK;
    let blocks = shape.iter().product::<usize>();
    let words = values.reshape([blocks, bits.words_per_block()]);
    let integers = match bits {
        Bits::Eight => Tensor::stack::<3>((0..4).map(|byte| signed(&words, byte)).collect(), 2)
            .reshape([blocks, BLOCK]),
        Bits::Four => {
            let half = |high: usize| {
                let bytes = (0..4).map(|byte| level(&words, 8 * byte + 4 * high));
                Tensor::stack::<3>(bytes.collect(), 2).reshape([blocks, BLOCK / 2])
            };
            Tensor::cat(vec![half(0), half(1)], 1).sub_scalar(8)
        }
    };
    let scales = scales.cast(DType::F32).reshape([blocks, 1]);
    shape[D - 1] = width;
    (integers.float().cast(DType::F32) * scales).reshape(shape)
}

/// One byte of every word, as an integer from -128 to 127.
fn signed<B: Backend>(words: &Tensor<B, 2, Int>, byte: i32) -> Tensor<B, 2, Int> {
    let bits = words.clone().bitwise_right_shift_scalar((8 * byte).elem());
    let bits = bits.bitwise_and_scalar(0xff.elem());
    bits.add_scalar(128).remainder_scalar(256).sub_scalar(128)
}

/// Four bits of every word, starting at `shift`.
fn level<B: Backend>(words: &Tensor<B, 2, Int>, shift: usize) -> Tensor<B, 2, Int> {
    let bits = words
        .clone()
        .bitwise_right_shift_scalar((shift as i32).elem());
    bits.bitwise_and_scalar(0xf.elem())
}

/// See [`Ops::project_quantized`].
pub fn project<B: Ops>(input: Tensor<B, 2>, weight: Quantized<B, 2>) -> Tensor<B, 2> {
    let weight = dequantize(weight).cast(input.dtype());
    B::project(input, weight)
}

/// See [`Ops::experts_quantized`].
pub fn experts<B: Ops>(
    input: Tensor<B, 2>,
    projections: Projections<B>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let numbers = |quantized| dequantize(quantized).cast(input.dtype());
    let projections = crate::experts::Projections {
        gate: numbers(projections.gate),
        up: numbers(projections.up),
        down: numbers(projections.down),
    };
    B::experts(input, projections, indices, weights)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn_flex::Flex;

    fn there_and_back(numbers: &[f32], bits: Bits) -> Vec<f32> {
        let shape = [numbers.len() / 64, 64];
        let weight = Tensor::<Flex, 2>::from_data(
            TensorData::new(numbers.to_vec(), shape),
            &Default::default(),
        );
        let quantized = quantize(weight, bits, DType::F16).expect("the rows are whole");
        assert_eq!(quantized.values.dims(), [shape[0], 64 * bits.count() / 32]);
        dequantize(quantized).into_data().iter::<f32>().collect()
    }

    #[test]
    fn every_number_comes_back_within_half_a_step_at_its_place() {
        let numbers: Vec<f32> = (0..256)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        for (bits, levels) in [(Bits::Eight, 127.0), (Bits::Four, 8.0)] {
            let found = there_and_back(&numbers, bits);
            for (number, block) in numbers.chunks(BLOCK).enumerate() {
                let most = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                for (at, expected) in block.iter().enumerate() {
                    let found = found[number * BLOCK + at];
                    // only seven levels on the side opposite to the largest value
                    let step = most / levels * (1.0 + 1e-3);
                    let room = if bits == Bits::Four {
                        step
                    } else {
                        0.5 * step + 1e-6
                    };
                    assert!(
                        (found - expected).abs() <= room,
                        "{bits:?}: {found}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_on_the_levels_are_exact() {
        let eight: Vec<f32> = (0..64)
            .map(|i| [(i * 4 - 127) as f32, 127.0][(i % 32 == 31) as usize])
            .collect();
        assert_eq!(there_and_back(&eight, Bits::Eight), eight);
        let four: Vec<f32> = (0..64)
            .map(|i| [((i % 16) - 8) as f32, -8.0][(i % 32 == 31) as usize])
            .collect();
        assert_eq!(there_and_back(&four, Bits::Four), four);
        assert_eq!(there_and_back(&[0.0; 64], Bits::Four), [0.0; 64]);
    }

    #[test]
    fn rows_of_broken_blocks_are_refused() {
        let weight = Tensor::<Flex, 2>::zeros([2, 48], &Default::default());
        let error = quantize(weight, Bits::Eight, DType::F16).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its rows are 48 wide, expected a multiple of 32, the block of quantization"
        );
    }
}
