use burn::module::Param;
use burn::tensor::{DType, Int, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;

use super::*;
use crate::model::ModelConfig;
use crate::model::mixer::gated_attention::GatedAttentionConfig;
use crate::model::rope::Rope;
use crate::model::weights;

type B = Selected;

const HIDDEN: usize = 12;
const DIM: usize = 6;

fn config(heads: usize, key_value_heads: usize, sliding_window: Option<usize>) -> ModelConfig {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "vocab_size": 10, "hidden_size": HIDDEN, "num_hidden_layers": 2, "intermediate_size": 6,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "rope": {"rope_theta": 100.0},
        "mixer": {"gqa": {
            "num_attention_heads": heads, "num_key_value_heads": key_value_heads, "head_dim": DIM,
            "attention_bias": true, "sliding_window": sliding_window
        }},
        "initializer_range": 0.5
    }))
    .unwrap();
    config.validate().unwrap();
    config
}

fn noise<const D: usize>(shape: [usize; D], phase: f32) -> Tensor<B, D> {
    let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.7 + phase).sin());
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<f32>>(), shape),
        &Default::default(),
    )
}

fn drawn(config: &ModelConfig, seed: u64) -> Gqa<B> {
    let init = Initializers::new(config, seed);
    Gqa::init(
        config.mixer.gqa.as_ref().unwrap(),
        &init,
        &Default::default(),
    )
}

/// A mixer whose biases, if any, are nonzero and whose norms have weights other than one.
fn mixer(config: &ModelConfig) -> Gqa<B> {
    let mut gqa = drawn(config, 3);
    let projections = [
        &mut gqa.q_proj,
        &mut gqa.k_proj,
        &mut gqa.v_proj,
        &mut gqa.o_proj,
    ];
    let projections = projections.into_iter().chain(&mut gqa.gate_proj);
    for (phase, projection) in projections.enumerate() {
        if projection.bias.is_some() {
            let [_, outer] = projection.weight.dims();
            projection.bias = Some(Param::from_tensor(noise([outer], phase as f32)));
        }
    }
    let norms = [&mut gqa.q_norm, &mut gqa.k_norm].into_iter().flatten();
    for (phase, norm) in norms.enumerate() {
        let widths = norm.weight.dims();
        norm.weight = Param::from_tensor(noise(widths, phase as f32).add_scalar(1.5));
    }
    gqa
}

/// Variants of the configuration that together use every option: Qwen3-Next with both pairings, OLMoE, and Qwen2.
fn with_options(config: &ModelConfig) -> [ModelConfig; 3] {
    let gated = |pairs| GqaConfig {
        qk_norm: true,
        output_gate: true,
        rotary_dim: Some(4),
        rotary_pairs: pairs,
        ..config.mixer.gqa.clone().unwrap()
    };
    let clipped = GqaConfig {
        qk_norm: true,
        qk_norm_over: NormOver::Heads,
        clip_qkv: Some(0.9),
        biased: Biased::Inputs,
        ..config.mixer.gqa.clone().unwrap()
    };
    let [neighbours, halves] = [RotaryPairs::Neighbours, RotaryPairs::Halves].map(gated);
    [neighbours, halves, clipped].map(|gqa| {
        let mut config = config.clone();
        config.mixer.gqa = Some(gqa);
        config.validate().unwrap();
        config
    })
}

fn context(config: &ModelConfig, positions: &[i64], documents: Option<&[i64]>) -> Context<B> {
    let row = |values: &[i64]| -> Tensor<B, 2, Int> {
        let data = TensorData::new(values.to_vec(), [1, values.len()]);
        Tensor::from_data(data, &Default::default())
    };
    Context {
        phase: crate::model::Phase::Inference,
        step: None,
        rotation: Rope::new(&config.rope, config.rope_dim()).at(row(positions)),
        mask: match documents {
            None => AttentionMask::Causal,
            Some(documents) => AttentionMask::Documents(row(documents)),
        },
        around: Default::default(),
    }
}

fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (got - expected).abs();
        assert!(
            difference < 2e-5,
            "{what}: [{at}] is {got}, expected {expected}"
        );
    }
}

/// `x W`, or `x W + b`, row by row.
fn product(rows: &[Vec<f64>], linear: &Linear<B>) -> Vec<Vec<f64>> {
    let [inner, outer] = linear.weight.dims();
    let weight = values(linear.weight.val());
    let bias = linear.bias.as_ref().map(|bias| values(bias.val()));
    let bias = bias.unwrap_or(vec![0.0; outer]);
    let times = |row: &Vec<f64>, column: usize| -> f64 {
        let terms = (0..inner).map(|i| row[i] * f64::from(weight[i * outer + column]));
        terms.sum::<f64>() + f64::from(bias[column])
    };
    let rows = rows.iter();
    rows.map(|row| (0..outer).map(|column| times(row, column)).collect())
        .collect()
}

/// One head's part of a row, clipped to `clip_qkv`.
fn clipped(row: &[f64], head: usize, config: &GqaConfig) -> Vec<f64> {
    let most = config.clip_qkv.unwrap_or(f64::INFINITY);
    let part = row[head * DIM..][..DIM].iter();
    part.map(|x| x.clamp(-most, most)).collect()
}

/// One head's part of a row, normalized if there is a norm, and rotated by the position.
fn placed(
    row: &[f64],
    head: usize,
    norm: &Option<RmsNorm<B>>,
    position: i64,
    config: &GqaConfig,
) -> Vec<f64> {
    let mut row = row.to_vec();
    if let Some(norm) = norm {
        let weights = values(norm.weight.val());
        for part in row.chunks_mut(weights.len()) {
            let square: f64 = part.iter().map(|x| x * x).sum();
            let length = (square / part.len() as f64 + 1e-6).sqrt();
            for (x, weight) in part.iter_mut().zip(&weights) {
                *x *= f64::from(*weight) / length;
            }
        }
    }
    let mut placed = clipped(&row, head, config);
    let turned = config.rotary_dim.unwrap_or(DIM);
    for pair in 0..turned / 2 {
        let angle = position as f64 * 100f64.powf(-2.0 * pair as f64 / turned as f64);
        let (left, right) = match config.rotary_pairs {
            RotaryPairs::Neighbours => (2 * pair, 2 * pair + 1),
            RotaryPairs::Halves => (pair, pair + turned / 2),
        };
        let (x, y) = (placed[left], placed[right]);
        placed[left] = x * angle.cos() - y * angle.sin();
        placed[right] = x * angle.sin() + y * angle.cos();
    }
    placed
}

/// Attention as explicit loops: every query of every head over the keys for which `sees(query, key)`.
fn in_loops(
    gqa: &Gqa<B>,
    config: &ModelConfig,
    hidden: &Tensor<B, 3>,
    positions: &[i64],
    sees: impl Fn(usize, usize) -> bool,
) -> Vec<f32> {
    let config = config.mixer.gqa.as_ref().unwrap();
    let heads = config.num_attention_heads;
    let shared = config.num_key_value_heads;
    let rows: Vec<Vec<f64>> = values(hidden.clone())
        .chunks(HIDDEN)
        .map(|row| row.iter().map(|&x| f64::from(x)).collect())
        .collect();
    let [q, k, v] = [&gqa.q_proj, &gqa.k_proj, &gqa.v_proj].map(|linear| product(&rows, linear));
    let mut attended = vec![vec![0.0; heads * DIM]; rows.len()];
    for (i, row) in attended.iter_mut().enumerate() {
        for head in 0..heads {
            let from = head / (heads / shared);
            let query = placed(&q[i], head, &gqa.q_norm, positions[i], config);
            let weights = (0..rows.len()).map(|j| {
                let key = placed(&k[j], from, &gqa.k_norm, positions[j], config);
                let dot: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                let weight = (dot / (DIM as f64).sqrt()).exp();
                if sees(i, j) { weight } else { 0.0 }
            });
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            for (weight, v) in weights.iter().zip(&v) {
                let value = clipped(v, from, config);
                for d in 0..DIM {
                    row[head * DIM + d] += weight / sum * value[d];
                }
            }
        }
    }
    if let Some(gate_proj) = &gqa.gate_proj {
        let gates = product(&rows, gate_proj).concat();
        for (x, gate) in attended.iter_mut().flatten().zip(gates) {
            *x /= 1.0 + (-gate).exp();
        }
    }
    let output = product(&attended, &gqa.o_proj);
    output.concat().into_iter().map(|x| x as f32).collect()
}

#[test]
fn every_grouping_and_window_equals_attention_written_out() {
    let positions: Vec<i64> = (0..11).collect();
    // with as many key-value heads as query heads: plain multi-head attention
    for (heads, shared, window) in [
        (4, 4, None),
        (4, 2, None),
        (4, 1, None),
        (4, 2, Some(1)),
        (4, 2, Some(3)),
        (6, 2, Some(11)),
    ] {
        let config = config(heads, shared, window);
        let gqa = mixer(&config);
        let hidden = noise([1, 11, HIDDEN], 0.3);
        let got = gqa.forward(hidden.clone(), &context(&config, &positions, None));
        let reach = window.unwrap_or(usize::MAX);
        let expected = in_loops(&gqa, &config, &hidden, &positions, |i, j| {
            j <= i && i - j < reach
        });
        let what = format!("{heads} heads on {shared}, window {window:?}");
        assert_close(&values(got), &expected, &what);
    }
}

#[test]
fn norms_gates_limits_and_partial_rotations_equal_attention_written_out() {
    let positions: Vec<i64> = (0..11).collect();
    for config in with_options(&config(4, 2, Some(5))) {
        let gqa = mixer(&config);
        let hidden = noise([1, 11, HIDDEN], 0.3);
        let got = gqa.forward(hidden.clone(), &context(&config, &positions, None));
        let expected = in_loops(&gqa, &config, &hidden, &positions, |i, j| {
            j <= i && i - j < 5
        });
        let what = format!("{:?}", config.mixer.gqa);
        assert_close(&values(got), &expected, &what);
    }
}

/// Outputs of sequences that are extended together through pages, each in its own pieces.
fn through_pages(
    gqa: &Gqa<B>,
    config: &ModelConfig,
    hidden: &[Tensor<B, 3>],
    format: Option<PageFormat>,
) -> Vec<f32> {
    let cache = CacheConfig {
        page_len: 4,
        format,
    };
    let mut caches = vec![gqa.empty_cache(&cache); hidden.len()];
    let mut outputs: Vec<Vec<Tensor<B, 3>>> = vec![Vec::new(); hidden.len()];
    loop {
        let pieces = hidden.iter().zip(&caches).enumerate();
        let pieces = pieces.map(|(index, (hidden, cache))| {
            let (at, [_, len, _]) = (cache.len(), hidden.dims());
            let most = if at == 0 { 5 + index } else { 1 + index };
            at..len.min(at + most)
        });
        let pieces: Vec<_> = pieces.collect();
        let open = || {
            pieces
                .iter()
                .enumerate()
                .filter(|(_, piece)| !piece.is_empty())
        };
        if open().next().is_none() {
            break;
        }
        let rows = open().map(|(index, piece)| {
            let hidden = hidden[index].clone();
            hidden.narrow(1, piece.start, piece.len())
        });
        let positions: Vec<i64> = open()
            .flat_map(|(_, piece)| piece.clone().map(|position| position as i64))
            .collect();
        let rows = Tensor::cat(rows.collect(), 1);
        let mut sequences: Vec<_> = caches
            .iter_mut()
            .zip(&pieces)
            .filter(|(_, piece)| !piece.is_empty())
            .map(|(cache, piece)| Extension::new(cache, piece.len()))
            .collect();
        let output = gqa.extend(rows, &context(config, &positions, None), &mut sequences);
        let mut at = 0;
        for (index, piece) in open() {
            outputs[index].push(output.clone().narrow(1, at, piece.len()));
            at += piece.len();
        }
    }
    values(Tensor::cat(outputs.concat(), 1))
}

#[test]
fn decoding_through_pages_of_every_format_equals_the_whole_forward() {
    let plain = config(4, 2, None);
    let with_options = with_options(&plain);
    let formats = [
        (None, 1e-5),
        (Some(PageFormat::Numbers(DType::F32)), 1e-5),
        (Some(PageFormat::Numbers(DType::F16)), 4e-3),
        (Some(PageFormat::Numbers(DType::BF16)), 3e-2),
        (Some(PageFormat::EightBits), 3e-2),
    ];
    for config in [plain].into_iter().chain(with_options) {
        let gqa = mixer(&config);
        for lens in [&[21][..], &[21, 9, 14]] {
            let sequences = lens.iter().enumerate();
            let hidden: Vec<Tensor<B, 3>> = sequences
                .map(|(index, len)| noise([1, *len, HIDDEN], index as f32))
                .collect();
            let whole = hidden.iter().zip(lens).flat_map(|(hidden, &len)| {
                let positions: Vec<i64> = (0..len as i64).collect();
                let context = context(&config, &positions, None);
                values(gqa.forward(hidden.clone(), &context))
            });
            let whole: Vec<f32> = whole.collect();
            let size = whole.iter().fold(0.0f32, |size, it| size.max(it.abs()));
            for (format, tolerance) in formats {
                if let Some(PageFormat::Numbers(dtype)) = format
                    && !B::supports_dtype(&Default::default(), dtype)
                {
                    continue;
                }
                let paged = through_pages(&gqa, &config, &hidden, format);
                let apart = whole.iter().zip(&paged).map(|(l, r)| (l - r).abs());
                let apart = apart.fold(0.0f32, f32::max) / size;
                let case = format!("{format:?}, {lens:?}, {:?}", config.mixer.gqa);
                assert_eq!(whole.len(), paged.len(), "{case}");
                assert!(apart < tolerance, "{case}: {apart}");
                // narrower types round
                assert_eq!(apart > 1e-5, tolerance > 1e-5, "{case}: {apart}");
            }
        }
    }
}

#[test]
fn documents_do_not_see_each_other() {
    let documents = [4, 4, 4, 4, 4, 7, 7, 7, 7];
    let positions = [0, 1, 2, 3, 4, 0, 1, 2, 3];
    for window in [None, Some(3)] {
        let config = config(4, 2, window);
        let gqa = mixer(&config);
        let hidden = noise([1, 9, HIDDEN], 0.9);
        let context = context(&config, &positions, Some(&documents));
        let got = gqa.forward(hidden.clone(), &context);
        let expected = in_loops(&gqa, &config, &hidden, &positions, |i, j| {
            j <= i && documents[i] == documents[j] && i - j < window.unwrap_or(9)
        });
        assert_close(&values(got), &expected, &format!("window {window:?}"));
    }
}

#[test]
fn a_prefill_chunks_and_single_tokens_equal_the_whole() {
    for window in [None, Some(1), Some(2), Some(5), Some(9), Some(40)] {
        let config = config(4, 2, window);
        let gqa = mixer(&config);
        let hidden = noise([1, 24, HIDDEN], 0.1);
        let positions: Vec<i64> = (0..24).collect();
        let whole = gqa.forward(hidden.clone(), &context(&config, &positions, None));

        // windows shorter and longer than a chunk, and longer than the sequence
        for ends in [vec![8, 11, 20, 21, 22, 23, 24], (1..=24).collect()] {
            let mut cache = gqa.empty_cache(&CacheConfig {
                page_len: 4,
                format: None,
            });
            let mut parts = Vec::new();
            let mut start = 0;
            for end in ends {
                let chunk = hidden.clone().narrow(1, start, end - start);
                let context = context(&config, &positions[start..end], None);
                let mut only = [Extension::new(&mut cache, end - start)];
                parts.push(gqa.extend(chunk, &context, &mut only));
                start = end;
            }
            let stepwise = Tensor::cat(parts, 1);
            let what = format!("window {window:?}");
            assert_close(&values(stepwise), &values(whole.clone()), &what);
            assert_eq!(cache.len(), 24);
        }
    }
}

#[test]
fn a_changed_token_changes_nothing_before_it_nor_behind_the_window() {
    let positions: Vec<i64> = (0..10).collect();
    for (window, last_touched) in [(None, 9), (Some(3), 6)] {
        let config = config(4, 2, window);
        let gqa = mixer(&config);
        let context = context(&config, &positions, None);
        let hidden = noise([1, 10, HIDDEN], 0.5);
        let changed = hidden.clone().slice_assign(
            [0..1, 4..5, 0..HIDDEN],
            Tensor::ones([1, 1, HIDDEN], &Default::default()),
        );
        let [before, after] = [hidden, changed].map(|x| values(gqa.forward(x, &context)));
        for position in 0..10 {
            let row = position * HIDDEN..(position + 1) * HIDDEN;
            let touched = (4..=last_touched).contains(&position);
            assert_eq!(before[row.clone()] != after[row], touched, "{position}");
        }
    }
}

fn names(config: &ModelConfig) -> String {
    let tensors = weights::collect(&drawn(config, 0)).into_iter();
    let names: Vec<String> = tensors.map(|tensor| tensor.name).collect();
    names.join(" ")
}

#[test]
fn biases_have_their_names_and_are_there_only_if_asked_for() {
    let mut config = config(4, 2, None);
    assert_eq!(
        names(&config),
        "q_proj.weight q_proj.bias k_proj.weight k_proj.bias \
         v_proj.weight v_proj.bias o_proj.weight o_proj.bias"
    );
    config.mixer.gqa.as_mut().unwrap().attention_bias = false;
    assert_eq!(
        names(&config),
        "q_proj.weight k_proj.weight v_proj.weight o_proj.weight"
    );
    let gqa = config.mixer.gqa.as_mut().unwrap();
    (gqa.attention_bias, gqa.biased) = (true, Biased::Inputs);
    assert_eq!(
        names(&config),
        "q_proj.weight q_proj.bias k_proj.weight k_proj.bias \
         v_proj.weight v_proj.bias o_proj.weight"
    );
}

#[test]
fn gated_attention_has_the_names_and_the_configuration_of_older_runs() {
    let section = serde_json::json!({
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "rotary_dim": 4
    });
    let mut config = config(4, 2, None);
    let gated: GatedAttentionConfig = serde_json::from_value(section.clone()).unwrap();
    assert_eq!(serde_json::to_value(&gated).unwrap(), section);
    config.mixer.gqa = Some(gated.gqa());
    assert_eq!(
        names(&config),
        "q_proj.weight gate_proj.weight k_proj.weight v_proj.weight \
         q_norm.weight k_norm.weight o_proj.weight"
    );
}
