use burn::tensor::{Int, TensorData};
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;

use super::*;
use crate::model::ModelConfig;
use crate::model::context::Phase;
use crate::model::mixer::MixerConfig;
use crate::model::rope::Rope;

type B = Selected;

const HIDDEN: usize = 32;
const HEADS: usize = 2;
const RANK: usize = 16;
const NOPE: usize = 8;
const ROPE: usize = 8;
const VALUE: usize = 12;

fn config() -> ModelConfig {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "vocab_size": 10, "hidden_size": HIDDEN, "num_hidden_layers": 2, "intermediate_size": 6,
        "max_position_embeddings": 131_072, "initializer_range": 0.3,
        "rope": {"rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096,
            "mscale": 1.0, "mscale_all_dim": 1.0
        }},
        "mixer": {"mla": {
            "num_attention_heads": HEADS, "kv_lora_rank": RANK, "qk_nope_head_dim": NOPE,
            "qk_rope_head_dim": ROPE, "v_head_dim": VALUE
        }}
    }))
    .unwrap();
    config.validate().unwrap();
    config
}

fn noise<const D: usize>(shape: [usize; D], phase: f32) -> Tensor<B, D> {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| (i as f32 * 1.37 + phase + (i / 97) as f32).sin());
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<f32>>(), shape),
        &Default::default(),
    )
}

fn context(config: &ModelConfig, position: i64) -> Context<B> {
    let at = Tensor::<B, 2, Int>::from_data(
        TensorData::new(vec![position], [1, 1]),
        &Default::default(),
    );
    Context {
        rotation: Rope::new(&config.rope, config.rope_dim()).at(at),
        mask: AttentionMask::Causal,
        around: Default::default(),
        phase: Phase::Inference,
        step: None,
    }
}

fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Attention of one query over expanded keys and values, in f64: the output of every head, and the weight of the
/// first position.
fn expanded_in_loops(mla: &Mla<B>, queries: &HeadQueries<B>, rows: &[f64]) -> Vec<(Vec<f64>, f64)> {
    let width = RANK + ROPE;
    let up = values(mla.kv_b_proj.weight.val());
    let column = |latent: &[f64], column: usize| -> f64 {
        (0..RANK)
            .map(|r| latent[r] * up[r * HEADS * (NOPE + VALUE) + column])
            .sum()
    };
    let (nope, rope) = (values(queries.nope.clone()), values(queries.rope.clone()));
    let of_head = |head: usize| {
        let first = head * (NOPE + VALUE);
        let scores: Vec<f64> = rows
            .chunks(width)
            .map(|row| {
                let (latent, key) = row.split_at(RANK);
                let by_content: f64 = (0..NOPE)
                    .map(|d| nope[head * NOPE + d] * column(latent, first + d))
                    .sum();
                let by_place: f64 = (0..ROPE).map(|d| rope[head * ROPE + d] * key[d]).sum();
                (by_content + by_place) * mla.softmax_scale
            })
            .collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - most).exp()).sum();
        let mut output = vec![0.0; VALUE];
        for (row, score) in rows.chunks(width).zip(&scores) {
            let share = (score - most).exp() / total;
            for (d, output) in output.iter_mut().enumerate() {
                *output += share * column(&row[..RANK], first + NOPE + d);
            }
        }
        (output, (scores[0] - most).exp() / total)
    };
    (0..HEADS).map(of_head).collect()
}

fn drawn(config: &ModelConfig) -> Mla<B> {
    let init = Initializers::new(config, 3);
    Mla::init(
        config.mixer.mla.as_ref().unwrap(),
        &init,
        &Default::default(),
    )
}

#[test]
fn position_131071_finds_what_was_planted_at_position_0() {
    const LEN: usize = 131_072;
    let config = config();
    let mla = drawn(&config);
    let queries = mla.queries(
        noise([1, 1, HIDDEN], 0.3),
        &context(&config, LEN as i64 - 1),
    );
    // the key that the first head looks for; no other key resembles it
    let folded = mla.kv_b_proj.weight.weight();
    let wanted = B::absorb_query(queries.nope.clone().squeeze_dim(0), folded);
    let wanted = Tensor::cat(vec![wanted, queries.rope.clone().squeeze_dim(0)], 2);
    let wanted = wanted.narrow(1, 0, 1);
    let length: f32 = wanted.clone().powi_scalar(2).sum().sqrt().into_scalar();
    let planted = wanted.mul_scalar(25.0 / mla.softmax_scale as f32 / length / length);
    let rows = Tensor::cat(vec![planted, noise([LEN - 1, 1, RANK + ROPE], 0.9)], 0);

    let mut cache = LatentCache::new(CacheConfig::default());
    cache.latents.append(rows.clone());
    let sequences = [Extension::new(&mut cache, 1)];
    let expected = expanded_in_loops(&mla, &queries, &values(rows));
    let found = values(mla.attend(queries, &sequences, Form::Absorbed));

    assert!(expected[0].1 > 0.9, "{}", expected[0].1);
    let expected = expected.into_iter().flat_map(|(output, _)| output);
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3, "{found}, {expected}");
    }
}

/// A long piece after a past, with pages of both formats.
#[test]
fn both_forms_are_the_same_attention() {
    const LEN: usize = 300;
    const NEW: usize = 70;
    let config = config();
    let mla = drawn(&config);
    for format in [None, Some(PageFormat::EightBits)] {
        let mut cache = LatentCache::new(CacheConfig {
            page_len: 50,
            format,
        });
        cache.latents.append(noise([LEN, 1, RANK + ROPE], 0.9));
        let sequences = [Extension::new(&mut cache, NEW)];
        let [absorbed, expanded] = [Form::Absorbed, Form::Expanded].map(|form| {
            let queries = HeadQueries {
                nope: noise([1, NEW, HEADS, NOPE], 0.1),
                rope: noise([1, NEW, HEADS, ROPE], 0.2),
            };
            values(mla.attend(queries, &sequences, form))
        });
        let pairs = absorbed.iter().zip(&expanded);
        let difference = pairs.map(|(l, r)| (l - r).abs()).fold(0.0, f64::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn long_pieces_are_expanded_where_that_is_cheaper_and_short_ones_never() {
    let flagship: MlaConfig = serde_json::from_value(serde_json::json!({
        "num_attention_heads": 16, "q_lora_rank": 1024, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128
    }))
    .unwrap();
    let config = ModelConfig {
        mixer: MixerConfig {
            mla: Some(flagship),
            ..Default::default()
        },
        ..config()
    };
    let mla = drawn(&config);
    for (past, new, form) in [
        (0, 31, Form::Absorbed),
        (0, 32, Form::Expanded),
        (0, 512, Form::Expanded),
        // few tokens would expand every row of the past
        (100_000, 64, Form::Absorbed),
        (100_000, 512, Form::Expanded),
    ] {
        assert_eq!(mla.form(past, new), form, "{new} after {past}");
    }
}
