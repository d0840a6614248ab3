use burn::module::Param;
use burn::tensor::{Int, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::select::Selected;

use super::*;
use crate::model::ModelConfig;
use crate::model::mixer::MixerKind;
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

/// With biases that are not zero.
fn mixer(config: &ModelConfig) -> Gqa<B> {
    let mut gqa = drawn(config, 3);
    let projections = [
        &mut gqa.q_proj,
        &mut gqa.k_proj,
        &mut gqa.v_proj,
        &mut gqa.o_proj,
    ];
    for (phase, projection) in projections.into_iter().enumerate() {
        let [_, outer] = projection.weight.dims();
        projection.bias = Some(Param::from_tensor(noise([outer], phase as f32)));
    }
    gqa
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

/// `x W + b`, row by row.
fn product(rows: &[Vec<f64>], linear: &Linear<B>) -> Vec<Vec<f64>> {
    let [inner, outer] = linear.weight.dims();
    let weight = values(linear.weight.val());
    let bias = values(linear.bias.as_ref().unwrap().val());
    let times = |row: &Vec<f64>, column: usize| -> f64 {
        let terms = (0..inner).map(|i| row[i] * f64::from(weight[i * outer + column]));
        terms.sum::<f64>() + f64::from(bias[column])
    };
    let rows = rows.iter();
    rows.map(|row| (0..outer).map(|column| times(row, column)).collect())
        .collect()
}

/// One head's part of a row, its pairs turned by the position.
fn turned(row: &[f64], head: usize, position: i64) -> Vec<f64> {
    let mut turned = row[head * DIM..][..DIM].to_vec();
    for pair in 0..DIM / 2 {
        let angle = position as f64 * 100f64.powf(-2.0 * pair as f64 / DIM as f64);
        let (x, y) = (turned[2 * pair], turned[2 * pair + 1]);
        turned[2 * pair] = x * angle.cos() - y * angle.sin();
        turned[2 * pair + 1] = x * angle.sin() + y * angle.cos();
    }
    turned
}

/// Attention written out: every query of every head over the keys for which `sees(query, key)`.
fn in_loops(
    gqa: &Gqa<B>,
    [heads, shared]: [usize; 2],
    hidden: &Tensor<B, 3>,
    positions: &[i64],
    sees: impl Fn(usize, usize) -> bool,
) -> Vec<f32> {
    let rows: Vec<Vec<f64>> = values(hidden.clone())
        .chunks(HIDDEN)
        .map(|row| row.iter().map(|&x| f64::from(x)).collect())
        .collect();
    let [q, k, v] = [&gqa.q_proj, &gqa.k_proj, &gqa.v_proj].map(|linear| product(&rows, linear));
    let mut attended = vec![vec![0.0; heads * DIM]; rows.len()];
    for (i, row) in attended.iter_mut().enumerate() {
        for head in 0..heads {
            let from = head / (heads / shared);
            let query = turned(&q[i], head, positions[i]);
            let weights = (0..rows.len()).map(|j| {
                let key = turned(&k[j], from, positions[j]);
                let dot: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                match sees(i, j) {
                    true => (dot / (DIM as f64).sqrt()).exp(),
                    false => 0.0,
                }
            });
            let weights: Vec<f64> = weights.collect();
            let sum: f64 = weights.iter().sum();
            for (j, weight) in weights.iter().enumerate() {
                for d in 0..DIM {
                    row[head * DIM + d] += weight / sum * v[j][from * DIM + d];
                }
            }
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
        let expected = in_loops(&gqa, [heads, shared], &hidden, &positions, |i, j| {
            j <= i && i - j < reach
        });
        let what = format!("{heads} heads on {shared}, window {window:?}");
        assert_close(&values(got), &expected, &what);
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
        let expected = in_loops(&gqa, [4, 2], &hidden, &positions, |i, j| {
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

        // windows shorter and longer than a chunk, and than all before it
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

#[test]
fn biases_have_their_names_and_are_there_only_if_asked_for() {
    let names = |config: &ModelConfig| {
        let gqa = drawn(config, 0);
        let tensors = weights::collect(&gqa).into_iter();
        tensors
            .map(|tensor| tensor.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
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
}

#[test]
fn heads_that_do_not_divide_are_refused_by_name() {
    let message = |change: fn(&mut GqaConfig)| {
        let mut config = config(4, 2, None);
        change(config.mixer.gqa.as_mut().unwrap());
        config.validate().unwrap_err().to_string()
    };
    assert_eq!(
        message(|gqa| gqa.num_key_value_heads = 3),
        "`mixer.gqa.num_attention_heads` is 4, expected a multiple of 3"
    );
    assert_eq!(
        message(|gqa| gqa.head_dim = 5),
        "`mixer.gqa.head_dim` is 5, expected a multiple of 2"
    );
    let mut hybrid = config(4, 2, None);
    hybrid.mixer.mla = serde_json::from_value(serde_json::json!({
        "num_attention_heads": 2, "kv_lora_rank": 3, "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 4, "v_head_dim": 4
    }))
    .unwrap();
    hybrid.layer_types = vec![MixerKind::Mla, MixerKind::Gqa];
    assert_eq!(
        hybrid.validate().unwrap_err().to_string(),
        "`mixer.gqa.head_dim` is 6, expected `mixer.mla.qk_rope_head_dim` = 4: \
         all layers share the rotations"
    );
    assert_eq!(
        message(|gqa| gqa.sliding_window = Some(0)),
        "`mixer.gqa.sliding_window` is 0, expected 1 to 1048576"
    );
}
