//! Decoding operations on few tokens: the selected backend against the definitions.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData, f16};
use burn_ndarray::NdArray;
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::paged::{Page, Past, Values};
use darkhorse_backends::quantized::{self, Bits, Quantized};
use darkhorse_backends::select::Selected;
use darkhorse_backends::{Ops, experts, norm, paged, top_k};

/// Pseudorandom numbers between -1 and 1 that f16 represents exactly.
fn numbers<B: Backend, const D: usize>(shape: [usize; D], seed: u32, dtype: DType) -> Tensor<B, D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_f32()
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (&Default::default(), dtype))
}

/// Element types to test on the selected backend.
fn types() -> Vec<DType> {
    let half = <Selected as Backend>::supports_dtype(&Default::default(), DType::F16);
    if cfg!(feature = "cubecl") && half {
        vec![DType::F32, DType::F16]
    } else {
        vec![DType::F32]
    }
}

fn integers<B: Backend>(values: Vec<i64>, shape: [usize; 2]) -> Tensor<B, 2, Int> {
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

#[track_caller]
fn assert_close(
    expected: Tensor<NdArray, 2>,
    found: Tensor<Selected, 2>,
    dtype: DType,
    case: &str,
) {
    assert_eq!(found.dtype(), dtype, "{case}");
    assert_eq!(expected.dims(), found.dims(), "{case}");
    let [expected, found] = [expected.into_data(), found.into_data()]
        .map(|data| data.iter::<f32>().collect::<Vec<_>>());
    let scale = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let tolerance = if dtype == DType::F16 { 2e-3 } else { 1e-5 };
    for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let difference = (expected - found).abs() / scale;
        assert!(
            difference < tolerance,
            "{case}, {dtype:?}: {found} at {at}, expected {expected}"
        );
    }
}

#[test]
fn the_choice_is_that_of_the_definition_with_the_lowest_index_of_equals() {
    let shapes = [
        (1, 1, 1),
        (1, 33, 8),
        (1, 65, 16),
        (3, 5, 5),
        (2, 1024, 16),
        (33_000, 3, 2),
    ];
    for (tokens, experts, k) in shapes {
        for dtype in types() {
            // multiples of 1/8, so that there are ties
            let scores = (numbers::<NdArray, 2>([tokens, experts], 1, DType::F32) * 8.0).round();
            let held = TensorData::new(
                scores.to_data().iter::<f32>().collect::<Vec<_>>(),
                [tokens, experts],
            );
            let expected = top_k::reference::top_k(scores, k);
            let scores = Tensor::from_data(held, (&Default::default(), dtype));
            // before and after it are operations that burn may fuse
            let found = Selected::top_k(scores * 0.125, k).add_scalar(0);
            assert_eq!(
                expected.into_data().iter::<i64>().collect::<Vec<_>>(),
                found.into_data().iter::<i64>().collect::<Vec<_>>(),
                "{k} of {tokens} x {experts}, {dtype:?}"
            );
        }
    }
}

/// Distances between choices that name no expert.
const NONE: [usize; 3] = [usize::MAX, 3, 1];

/// `k` experts per token; the third gets none unless all are chosen. Every `none`-th choice names no expert.
fn choices(tokens: usize, experts: usize, k: usize, none: usize) -> Vec<i64> {
    let left = if k < experts { 2 } else { experts };
    let others: Vec<i64> = (0..experts)
        .filter(|e| *e != left)
        .map(|e| e as i64)
        .collect();
    (0..tokens * k)
        .map(|slot| match (slot + 1) % none {
            0 => (experts + slot) as i64,
            _ => others[(slot / k + slot % k) % others.len()],
        })
        .collect()
}

/// Tokens, hidden size, width, experts, experts per token.
const SIZES: [[usize; 5]; 4] = [
    [1, 33, 65, 5, 2],
    [1, 64, 32, 3, 3],
    [3, 65, 33, 4, 1],
    [8, 32, 300, 6, 4],
];

#[test]
fn experts_of_few_tokens_are_those_of_the_definition() {
    let cases = SIZES
        .iter()
        .flat_map(|sizes| NONE.map(|none| (*sizes, none)));
    for ([tokens, hidden, width, count, k], none) in cases {
        for dtype in types() {
            fn arguments<B: Backend>(
                [tokens, hidden, width, count, k]: [usize; 5],
                dtype: DType,
            ) -> (Tensor<B, 2>, experts::Projections<B>, Tensor<B, 2>) {
                let projections = experts::Projections {
                    gate: numbers([count, hidden, width], 2, dtype),
                    up: numbers([count, hidden, width], 3, dtype),
                    down: numbers([count, width, hidden], 4, dtype),
                };
                // a transposed view
                let input = numbers([hidden, tokens], 1, dtype).transpose();
                (input, projections, numbers([tokens, k], 5, dtype))
            }
            let sizes = [tokens, hidden, width, count, k];
            let chosen = choices(tokens, count, k, none);
            let (input, projections, weights) = arguments::<NdArray>(sizes, DType::F32);
            let indices = integers(chosen.clone(), [tokens, k]);
            let expected =
                experts::reference::experts(input.clone() * 0.5, projections, indices, weights);
            let expected = expected + input;

            let (input, projections, weights) = arguments::<Selected>(sizes, dtype);
            let indices = integers(chosen, [tokens, k]);
            let found = Selected::experts(input.clone() * 0.5, projections, indices, weights);
            let case = format!("{sizes:?}, every {none}-th none");
            assert_close(expected, found + input, dtype, &case);
        }
    }
}

#[test]
fn products_with_blocks_of_few_rows_are_those_of_the_definition() {
    fn weight<B: Backend>(shape: [usize; 2], bits: Bits) -> Quantized<B, 2> {
        let weight = numbers(shape, 2, DType::F32);
        Quantized::quantize(weight, bits).expect("whole blocks")
    }
    let sizes = [[1, 33, 64], [1, 65, 32], [3, 13, 1056], [8, 300, 96]];
    for (bits, [rows, inner, outer]) in both(&sizes) {
        let input = numbers::<NdArray, 2>([inner, rows], 1, DType::F32).transpose();
        let expected = quantized::reference::project(input * 0.5, weight([inner, outer], bits));
        for dtype in types() {
            let input = numbers::<Selected, 2>([inner, rows], 1, dtype).transpose();
            let found = Selected::project_quantized(input * 0.5, weight([inner, outer], bits));
            let case = format!("{bits:?}, {rows} x {inner} x {outer}");
            assert_close(expected.clone(), found + 0.0, dtype, &case);
        }
    }
}

#[test]
fn experts_in_blocks_of_few_tokens_are_those_of_the_definition() {
    fn projections<B: Backend>(
        [hidden, width, count]: [usize; 3],
        bits: Bits,
    ) -> quantized::Projections<B> {
        let stack = |shape, seed| {
            let stack = numbers::<B, 3>(shape, seed, DType::F32);
            Quantized::quantize(stack, bits).expect("whole blocks")
        };
        quantized::Projections {
            gate: stack([count, hidden, width], 2),
            up: stack([count, hidden, width], 3),
            down: stack([count, width, hidden], 4),
        }
    }
    let sizes = [[1, 32, 96, 5, 2], [2, 96, 32, 3, 3], [8, 64, 1056, 4, 1]];
    let cases = both(&sizes).flat_map(|case| [usize::MAX, 3].map(|none| (case, none)));
    for ((bits, [tokens, hidden, width, count, k]), none) in cases {
        let shape = [hidden, width, count];
        let chosen = choices(tokens, count, k, none);
        let expected = quantized::reference::experts(
            numbers::<NdArray, 2>([tokens, hidden], 1, DType::F32),
            projections(shape, bits),
            integers(chosen.clone(), [tokens, k]),
            numbers([tokens, k], 5, DType::F32),
        );
        for dtype in types() {
            let found = Selected::experts_quantized(
                numbers([tokens, hidden], 1, dtype),
                projections(shape, bits),
                integers(chosen.clone(), [tokens, k]),
                numbers([tokens, k], 5, dtype),
            );
            let case = format!("{bits:?}, {tokens} x {shape:?}, {k}");
            assert_close(expected.clone(), found + 0.0, dtype, &case);
        }
    }
}

/// All sizes, each with weights of 8 and of 4 bits.
fn both<const N: usize>(sizes: &[[usize; N]]) -> impl Iterator<Item = (Bits, [usize; N])> {
    let bits = [Bits::Eight, Bits::Four].into_iter();
    bits.flat_map(move |bits| sizes.iter().map(move |sizes| (bits, *sizes)))
}

/// Attention over two kinds of pasts: keys and values of several heads, and latents that serve as both.
fn attended<B: Ops>(
    [page_len, dim, value_dim]: [usize; 3],
    window: Option<usize>,
    [query, held]: [DType; 2],
    attend: impl Fn(Tensor<B, 3>, &[Past<'_, B>], AttentionOptions) -> Tensor<B, 3>,
) -> Tensor<B, 2> {
    let pages = |seed, count: u32, heads, dim| -> Vec<Page<B>> {
        let page = |page| numbers::<B, 3>([page_len, heads, dim], seed + page, held).into();
        (0..count).map(page).collect()
    };
    let heads = [(3, 2), (1, 1)];
    let outputs = heads.map(|(new, kv_heads)| {
        let keys = pages(10, 3, kv_heads, dim);
        let values = pages(20, 3, kv_heads, value_dim);
        let past = Past {
            keys: &keys,
            values: match kv_heads {
                1 => Values::FirstOfKeys(value_dim),
                _ => Values::Pages(&values),
            },
            len: 2 * page_len + page_len / 2,
            new,
        };
        let short = Past {
            len: 1,
            new: 1,
            ..past.clone()
        };
        let options = AttentionOptions { scale: 0.3, window };
        let query = numbers::<B, 3>([new + 1, 4, dim], 1, query);
        let output = attend(query * 2.0, &[past, short], options) + 0.0;
        output.reshape([(new + 1) * 4, value_dim])
    });
    Tensor::cat(outputs.to_vec(), 0)
}

#[test]
fn attention_to_pages_is_that_of_the_definition() {
    for sizes in [[7, 33, 20], [128, 65, 64]] {
        for window in [None, Some(5)] {
            let expected = attended::<NdArray>(
                sizes,
                window,
                [DType::F32; 2],
                paged::reference::paged_attention,
            );
            for query in types() {
                for held in types() {
                    let found = attended(sizes, window, [query, held], Selected::paged_attention);
                    let case = format!("{sizes:?}, {window:?}, pages of {held:?}");
                    assert_close(expected.clone(), found, query, &case);
                }
            }
        }
    }
}

#[test]
fn few_rows_are_normalized_as_by_the_definition() {
    for [rows, width] in [[1, 1], [1, 33], [3, 65], [8, 1030]] {
        let input = numbers::<NdArray, 2>([width, rows], 1, DType::F32).transpose();
        let weight = numbers([width], 2, DType::F32);
        let expected = norm::reference::rms_norm(input * 2.0, weight, 1e-3);
        for dtype in types() {
            let input = numbers::<Selected, 2>([width, rows], 1, dtype).transpose();
            let found = Selected::rms_norm(input * 2.0, numbers([width], 2, dtype), 1e-3);
            let case = format!("{rows} x {width}");
            assert_close(expected.clone(), found + 0.0, dtype, &case);
        }
    }
}
