//! Linear attention and the short convolution before it.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Attended, LinearAttention, LinearAttentionOptions, UpdateRule, chunked, reference,
};
use darkhorse_backends::{Ops, short_conv};

use crate::support::{
    Differentiated, Flex, NdArray, Outcome, assert_close, constant, integers, leaf, noise,
};

/// State at the start of a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begin {
    Empty,
    Somewhere,
}

const HEADS: usize = 3;
const KEY: usize = 5;
const VALUE: usize = 7;

fn map(data: TensorData, f: impl Fn(f32) -> f32) -> TensorData {
    let shape = data.shape.clone();
    TensorData::new(data.iter::<f32>().map(f).collect(), shape)
}

/// Keys of length 1, as after normalization.
fn keys(seed: u64, shape: [usize; 4]) -> TensorData {
    let mut values: Vec<f32> = noise(seed, shape).iter::<f32>().collect();
    for key in values.chunks_mut(shape[3]) {
        let length = key.iter().map(|it| it * it).sum::<f32>().sqrt();
        key.iter_mut().for_each(|value| *value /= length);
    }
    TensorData::new(values, shape)
}

fn inputs<B: AutodiffBackend>(batch: usize, seq: usize, begin: Begin) -> LinearAttention<B> {
    let state = noise(6, [batch, HEADS, KEY, VALUE]);
    LinearAttention {
        query: leaf(&keys(1, [batch, seq, HEADS, KEY])),
        key: leaf(&keys(2, [batch, seq, HEADS, KEY])),
        value: leaf(&noise(3, [batch, seq, HEADS, VALUE])),
        log_decay: leaf(&map(noise(4, [batch, seq, HEADS]), |x| {
            -0.2 * (x + 1.0).powi(3)
        })),
        write: leaf(&map(noise(5, [batch, seq, HEADS]), |x| (x + 1.0) / 2.0)),
        state: leaf(&match begin {
            Begin::Empty => map(state, |_| 0.0),
            Begin::Somewhere => state,
        }),
    }
}

fn outcome<B: AutodiffBackend>(
    input: LinearAttention<B>,
    attend: impl Fn(LinearAttention<B>) -> Attended<B>,
) -> Outcome {
    let attended = attend(input.clone());
    // output and state in one tensor, so that gradients flow through both
    let flat = |tensor: Tensor<B, 4>| {
        let len = tensor.shape().num_elements();
        tensor.reshape([len])
    };
    let joined = Tensor::cat(vec![flat(attended.output), flat(attended.state)], 0);
    Differentiated::new(joined)
        .gradient("query", &input.query)
        .gradient("key", &input.key)
        .gradient("value", &input.value)
        .gradient("log decay", &input.log_decay)
        .gradient("state", &input.state)
        .outcome()
}

fn write_gradient<B: AutodiffBackend>(
    input: LinearAttention<B>,
    attend: impl Fn(LinearAttention<B>) -> Attended<B>,
) -> Outcome {
    let state = attend(input.clone()).state;
    Differentiated::new(state)
        .gradient("write", &input.write)
        .outcome()
}

fn options(rule: UpdateRule) -> LinearAttentionOptions {
    let scale = (KEY as f64).powf(-0.5);
    LinearAttentionOptions { rule, scale }
}

fn check(batch: usize, seq: usize, begin: Begin, rule: UpdateRule, documents: Option<&[i64]>) {
    fn mask<B: AutodiffBackend>(batch: usize, documents: Option<&[i64]>) -> AttentionMask<B> {
        match documents {
            None => AttentionMask::Causal,
            Some(numbers) => {
                AttentionMask::Documents(integers(numbers, [batch, numbers.len() / batch]))
            }
        }
    }
    let options = options(rule);
    let slow = |input| reference::linear_attention(input, options, &mask(batch, documents));
    let fast = |input| Flex::linear_attention(input, options, &mask(batch, documents));
    let default = |input| NdArray::linear_attention(input, options, &mask(batch, documents));
    let case = format!("{batch} x {seq}, {begin:?}, {rule:?}");
    let expected = outcome::<Flex>(inputs(batch, seq, begin), slow);
    let got = outcome::<Flex>(inputs(batch, seq, begin), fast);
    assert_close(&format!("flex, {case}"), &got, &expected, 2e-5);
    let got = outcome::<NdArray>(inputs(batch, seq, begin), default);
    assert_close(&format!("ndarray, {case}"), &got, &expected, 1e-4);
    if rule != UpdateRule::Additive {
        let expected = write_gradient::<Flex>(inputs(batch, seq, begin), slow);
        let got = write_gradient::<Flex>(inputs(batch, seq, begin), fast);
        assert_close(&format!("flex, write, {case}"), &got, &expected, 2e-5);
        let got = write_gradient::<NdArray>(inputs(batch, seq, begin), default);
        assert_close(&format!("ndarray, write, {case}"), &got, &expected, 1e-4);
    }
}

const LENGTHS: [usize; 5] = [1, 63, 64, 65, 200];

#[test]
fn chunks_of_gated_linear_attention_equal_its_recurrence() {
    for seq in LENGTHS {
        for begin in [Begin::Empty, Begin::Somewhere] {
            check(2, seq, begin, UpdateRule::Additive, None);
        }
    }
}

#[test]
fn chunks_of_the_delta_rule_equal_its_recurrence() {
    for seq in LENGTHS {
        for begin in [Begin::Empty, Begin::Somewhere] {
            check(1, seq, begin, UpdateRule::Delta, None);
        }
    }
}

#[test]
fn chunks_under_the_chunk_level_delta_equal_its_definition() {
    for seq in LENGTHS {
        for chunk in [1, 16, 64] {
            let begin = if chunk == 16 {
                Begin::Empty
            } else {
                Begin::Somewhere
            };
            check(1, seq, begin, UpdateRule::ChunkDelta { chunk }, None);
        }
    }
}

#[test]
fn any_chunk_size_of_the_default_gives_the_recurrence() {
    for rule in [UpdateRule::Additive, UpdateRule::Delta] {
        for (seq, chunk) in LENGTHS
            .into_iter()
            .flat_map(|seq| [1, 16, 64].map(|of| (seq, of)))
        {
            let input = || inputs::<Flex>(1, seq, Begin::Somewhere);
            let mask = AttentionMask::Causal;
            let expected = outcome(input(), |input| {
                reference::linear_attention(input, options(rule), &mask)
            });
            let got = outcome(input(), |input| {
                chunked::in_chunks(input, options(rule), &mask, chunk)
            });
            assert_close(
                &format!("{rule:?}, {seq} by {chunk}"),
                &got,
                &expected,
                2e-5,
            );
        }
    }
}

#[test]
fn a_document_begins_with_nothing() {
    let numbers: Vec<i64> = [(0, 70), (1, 1), (2, 64), (7, 3), (8, 90), (9, 48)]
        .into_iter()
        .flat_map(|(number, len)| vec![number; len])
        .collect();
    for rule in [
        UpdateRule::Additive,
        UpdateRule::ChunkDelta { chunk: 16 },
        UpdateRule::Delta,
    ] {
        check(2, 138, Begin::Somewhere, rule, Some(&numbers));
        let second = inputs::<Flex>(2, 138, Begin::Empty);
        let whole = AttentionMask::Documents(integers(&numbers, [2, 138]));
        let all = Flex::linear_attention(second.clone(), options(rule), &whole).output;
        let alone = LinearAttention {
            query: second.query.narrow(1, 71, 64),
            key: second.key.narrow(1, 71, 64),
            value: second.value.narrow(1, 71, 64),
            log_decay: second.log_decay.narrow(1, 71, 64),
            write: second.write.narrow(1, 71, 64),
            state: second.state,
        };
        let alone = Flex::linear_attention(alone, options(rule), &AttentionMask::Causal).output;
        let first = |tensor: Tensor<Flex, 4>| {
            let data = tensor.narrow(0, 0, 1).into_data();
            Outcome(vec![("output", data.convert_dtype(DType::F32))])
        };
        let within = first(all.narrow(1, 71, 64));
        assert_close("a document alone", &within, &first(alone), 1e-6);
    }
}

#[test]
fn decays_down_to_nothing_leave_no_trace_of_infinity() {
    fn input<B: AutodiffBackend>() -> LinearAttention<B> {
        LinearAttention {
            log_decay: leaf(&map(noise(4, [1, 100, HEADS]), |x| -60.0 * (x + 1.0))),
            ..inputs(1, 100, Begin::Somewhere)
        }
    }
    for rule in [
        UpdateRule::Additive,
        UpdateRule::ChunkDelta { chunk: 64 },
        UpdateRule::Delta,
    ] {
        let expected = outcome(input::<Flex>(), |input| {
            reference::linear_attention(input, options(rule), &AttentionMask::Causal)
        });
        let got = outcome(input::<Flex>(), |input| {
            Flex::linear_attention(input, options(rule), &AttentionMask::Causal)
        });
        assert_close(&format!("flex, {rule:?}"), &got, &expected, 2e-5);
        let got = outcome(input::<NdArray>(), |input| {
            NdArray::linear_attention(input, options(rule), &AttentionMask::Causal)
        });
        assert_close(&format!("ndarray, {rule:?}"), &got, &expected, 1e-4);
    }
}

fn convolution<B: AutodiffBackend>(
    [batch, seq, channels, taps]: [usize; 4],
    conv: impl Fn(Tensor<B, 3>, Tensor<B, 2>) -> Tensor<B, 3>,
) -> Outcome {
    let padded: Tensor<B, 3> = leaf(&noise(1, [batch, seq + taps - 1, channels]));
    let weight: Tensor<B, 2> = leaf(&noise(2, [channels, taps]));
    Differentiated::new(conv(padded.clone(), weight.clone()))
        .gradient("tokens", &padded)
        .gradient("weight", &weight)
        .outcome()
}

#[test]
fn short_conv_sees_its_taps_and_its_document() {
    let numbers: Vec<i64> = (0..2 * 65)
        .map(|at| [0, 1, 1, 1, 1, 1, 0][at % 7])
        .collect();
    for shape @ [batch, seq, _, _] in [[1, 1, 3, 4], [2, 65, 10, 4], [2, 65, 600, 3], [1, 65, 2, 1]]
    {
        let plain = convolution::<Flex>(shape, |x, w| {
            short_conv::reference::short_conv(x, w, &AttentionMask::Causal)
        });
        let flex =
            convolution::<Flex>(shape, |x, w| Flex::short_conv(x, w, &AttentionMask::Causal));
        assert_close(&format!("{shape:?}"), &flex, &plain, 2e-5);
        let numbers = &numbers[..batch * seq];
        let expected = convolution::<Flex>(shape, |x, w| {
            let mask = AttentionMask::Documents(integers(numbers, [batch, seq]));
            short_conv::reference::short_conv(x, w, &mask)
        });
        let flex = convolution::<Flex>(shape, |x, w| {
            let mask = AttentionMask::Documents(integers(numbers, [batch, seq]));
            Flex::short_conv(x, w, &mask)
        });
        assert_close(&format!("documents, {shape:?}"), &flex, &expected, 2e-5);
        let default = convolution::<NdArray>(shape, |x, w| {
            let mask = AttentionMask::Documents(integers(numbers, [batch, seq]));
            NdArray::short_conv(x, w, &mask)
        });
        assert_close(&format!("ndarray, {shape:?}"), &default, &expected, 1e-4);
    }
}

#[test]
fn short_conv_is_a_sum_over_the_last_tokens() {
    let padded: Tensor<Flex, 3> = constant(&TensorData::new(vec![1f32, 2.0, 3.0, 4.0], [1, 4, 1]));
    let weight: Tensor<Flex, 2> = constant(&TensorData::new(vec![10f32, 1.0], [1, 2]));
    let output = Flex::short_conv(padded, weight, &AttentionMask::Causal).into_data();
    let silu = |x: f32| x / (1.0 + (-x).exp());
    let got: Vec<f32> = output.iter().collect();
    for (got, sum) in got.into_iter().zip([12.0, 23.0, 34.0]) {
        assert!((got - silu(sum)).abs() < 1e-5);
    }
}
