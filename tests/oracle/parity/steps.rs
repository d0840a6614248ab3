//! Decoding steps of linear and forgetting attention against the definitions over all positions at once.

use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::Flex;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::forgetting::{self, Forgetting, Seen, reference};
use darkhorse_backends::linear_attention::{
    Decay, HeadNorm, HeadSharing, Layer, LinearAttentionOptions, Positions, UpdateRule, layer,
};
use darkhorse_backends::paged::{Page, PageFormat};
use darkhorse_backends::unit::UnitEps;
use darkhorse_backends::{Ops, largest};

use crate::support::{Outcome, assert_close, constant, noise};

const HEADS: usize = 6;
const KEY: usize = 10;
const VALUE: usize = 7;
const TAPS: usize = 4;

fn layers() -> Vec<Layer<Flex>> {
    let norms = [
        HeadNorm::Unit(UnitEps::Length(1e-6)),
        HeadNorm::Unit(UnitEps::Square(1e-6)),
        HeadNorm::Rms {
            weights: [constant(&noise(31, [KEY])), constant(&noise(32, [KEY]))],
            eps: 1e-5,
        },
    ];
    let decays = [
        Decay::Softplus {
            a_log: constant(&noise(33, [HEADS])),
            dt_bias: constant(&noise(34, [HEADS])),
        },
        Decay::LogSigmoid { normalizer: 3.0 },
    ];
    let mut layers = Vec::new();
    for norm in &norms {
        for decay in &decays {
            for sharing in [HeadSharing::Tiled, HeadSharing::Grouped] {
                for rule in [UpdateRule::Additive, UpdateRule::Delta] {
                    layers.push(Layer {
                        convolutions: [
                            constant(&noise(35, [HEADS * KEY, TAPS])),
                            constant(&noise(36, [2 * KEY, TAPS])),
                            constant(&noise(37, [3 * VALUE, TAPS])),
                        ],
                        norm: norm.clone(),
                        decay: decay.clone(),
                        sharing,
                        heads: HEADS,
                        key_dim: KEY,
                        value_dim: VALUE,
                        options: LinearAttentionOptions { rule, scale: 0.4 },
                    });
                }
            }
        }
    }
    layers
}

fn positions(batch: usize, seq: usize, rotates: bool, rule: UpdateRule) -> Positions<Flex> {
    let angles = |seed| constant(&noise(seed, [batch, seq, 3]));
    Positions {
        projected: [
            constant(&noise(41, [batch, seq, HEADS * KEY])),
            constant(&noise(42, [batch, seq, 2 * KEY])),
            constant(&noise(43, [batch, seq, 3 * VALUE])),
        ],
        decay: constant(&noise(44, [batch, seq, HEADS])),
        write: (rule == UpdateRule::Delta).then(|| constant(&noise(45, [batch, seq, HEADS]))),
        rotation: rotates.then(|| [angles(46), angles(47)]),
        past: None,
    }
}

fn one(all: &Positions<Flex>, at: usize) -> Positions<Flex> {
    let of = |tensor: &Tensor<Flex, 3>| tensor.clone().narrow(1, at, 1);
    Positions {
        projected: all.projected.each_ref().map(of),
        decay: of(&all.decay),
        write: all.write.as_ref().map(of),
        rotation: all
            .rotation
            .as_ref()
            .map(|angles| angles.each_ref().map(of)),
        past: None,
    }
}

#[test]
fn linear_attention_token_by_token_is_that_of_the_whole_sequence() {
    for (number, layer) in layers().iter().enumerate() {
        for (batch, rotates) in [(1, true), (3, false)] {
            let all = positions(batch, 9, rotates, layer.options.rule);
            let expected = layer::mix(layer, all.clone(), &AttentionMask::Causal);
            let mut past = None;
            let mut outputs = Vec::new();
            for at in 0..9 {
                let token = Positions {
                    past: past.take(),
                    ..one(&all, at)
                };
                let mixed = Flex::mix_linear(layer, token, &AttentionMask::Causal);
                assert!(mixed.given.is_none(), "the form for single positions ran");
                outputs.push(mixed.output);
                past = Some(mixed.now);
            }
            let now = past.unwrap();
            let outcome =
                |output: Tensor<Flex, 4>, state: Tensor<Flex, 4>, tail: Tensor<Flex, 3>| {
                    Outcome(vec![
                        ("output", output.into_data()),
                        ("state", state.into_data()),
                        ("tail", tail.into_data()),
                    ])
                };
            let [_, tail, _] = now.tails;
            let found = outcome(Tensor::cat(outputs, 1), now.state, tail);
            let [_, tail, _] = expected.now.tails;
            let expected = outcome(expected.output, expected.now.state, tail);
            assert_close(
                &format!("layer {number}, batch {batch}"),
                &found,
                &expected,
                2e-5,
            );
        }
    }
}

fn paged(all: &Tensor<Flex, 3>, page_len: usize) -> Vec<Tensor<Flex, 3>> {
    let [len, heads, dim] = all.dims();
    let pages = (0..len).step_by(page_len).map(|start| {
        let held = page_len.min(len - start);
        let page = Tensor::<Flex, 3>::full([page_len, heads, dim], f32::NAN, &Default::default());
        page.slice_assign(
            [0..held, 0..heads, 0..dim],
            all.clone().narrow(0, start, held),
        )
    });
    pages.collect()
}

#[test]
fn forgetting_attention_reads_pages_where_they_are() {
    for (len, new, page_len) in [
        (1, 1, 4),
        (63, 1, 7),
        (64, 16, 64),
        (65, 3, 64),
        (512, 2, 128),
        (513, 2, 100),
        (1100, 5, 128),
    ] {
        for (heads, key_heads) in [(1, 1), (4, 2), (9, 3)] {
            let query: Tensor<Flex, 3> = constant(&noise(1, [new, heads, 6]));
            let key: Tensor<Flex, 3> = constant(&noise(2, [len, key_heads, 6]));
            let value: Tensor<Flex, 3> = constant(&noise(3, [len, heads, 5]));
            let gates: Vec<f32> = noise(4, [len, heads])
                .iter::<f32>()
                .map(|gate| -0.01 * (gate + 1.0))
                .collect();
            let gates: Tensor<Flex, 2> = constant(&TensorData::new(gates, [len, heads]));
            let kept = gates.cumsum(0);
            let input = Forgetting {
                query: query.clone().unsqueeze(),
                key: key.clone().unsqueeze(),
                value: value.clone().unsqueeze(),
                kept: kept.clone().unsqueeze(),
            };
            let causal = AttentionMask::Causal;
            let expected = reference::forgetting_attention(input, &causal, 0.4);
            let expected = Outcome(vec![("output", expected.squeeze_dim::<3>(0).into_data())]);
            let held = |all: &Tensor<Flex, 3>, format: PageFormat| -> Vec<Page<Flex>> {
                let pages = paged(all, page_len).into_iter();
                let written = pages.map(|rows| {
                    let page = Page::zeros(rows.dims(), format, &rows.device());
                    Flex::write_rows(page, 0, rows)
                });
                written.collect()
            };
            let numbers = PageFormat::Numbers;
            let kept = held(&kept.unsqueeze_dim::<3>(2), numbers(DType::F32));
            for (format, tolerance) in [
                (numbers(DType::F32), 2e-5),
                (numbers(DType::BF16), 2e-2),
                (PageFormat::EightBits, 2e-2),
            ] {
                let [keys, values] = [&key, &value].map(|all| held(all, format));
                let seen = Seen {
                    keys: &keys,
                    values: &values,
                    kept: &kept,
                    len,
                };
                let found = Flex::forgetting_paged(query.clone(), &seen, 0.4);
                let found = Outcome(vec![("output", found.into_data())]);
                let case = format!("{len}, {new} new, {heads} heads, {format:?}");
                assert_close(&case, &found, &expected, tolerance);
                let together = forgetting::paged::forgetting_paged(query.clone(), &seen, 0.4);
                let together = Outcome(vec![("output", together.into_data())]);
                assert_close(&case, &found, &together, 2e-5);
            }
        }
    }
}

#[test]
fn the_largest_magnitudes_are_kept_as_a_mask_of_them_would() {
    for (width, k) in [(1, 1), (8, 1), (8, 8), (120, 102), (1440, 1224)] {
        let input: Tensor<Flex, 2> = constant(&noise(7, [33, width]));
        let expected = largest::reference::keep_largest(input.clone(), k);
        let found = Flex::keep_largest(input, k);
        let off = (found.clone() - expected).abs().max().into_scalar();
        assert_eq!(off, 0.0, "{k} of {width}");
        let kept = found.not_equal_elem(0.0).int().sum().into_scalar();
        assert_eq!(kept as usize, 33 * k);
    }
    let tied = TensorData::new(vec![2f32, -1.0, -2.0, 2.0], [1, 4]);
    let kept = Flex::keep_largest(constant(&tied), 2).into_data();
    assert_eq!(
        kept.iter::<f32>().collect::<Vec<_>>(),
        [2.0, 0.0, -2.0, 2.0]
    );
}
