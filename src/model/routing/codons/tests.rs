//! Codons change choices as defined, and nothing else.

use std::collections::HashSet;

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::select::Selected;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Uniform};
use serde_json::{Value, json};

use crate::model::cache::{Cache, CacheConfig, Extension};
use crate::model::{CausalLm, Hidden, ModelConfig, Sequences};

type B = Selected;

const EXPERTS: usize = 8;
const NULL: usize = 2;
const K: usize = 2;
const LENGTH: usize = 4;
const MEMORY: f64 = 0.6;

fn soft() -> Value {
    json!({"length": LENGTH, "memory": MEMORY, "mode": {"soft": {"cohesion": 0.5}}})
}

fn hard(pool: usize) -> Value {
    json!({"length": LENGTH, "memory": MEMORY, "mode": {"hard": {"pool": pool}}})
}

fn config(codons: Value) -> ModelConfig {
    let config = json!({
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 8,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "initializer_range": 0.4,
        "first_k_dense_replace": 1, "rope": {}, "domains": {"mode": "off"},
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "moe": {
            "n_routed_experts": EXPERTS, "num_experts_per_tok": K, "moe_intermediate_size": 8,
            "router": {"null_experts": NULL, "k_target": 1.5, "codons": codons}
        }
    });
    serde_json::from_value(config).unwrap()
}

fn model(codons: Value) -> CausalLm<B> {
    let config = config(codons);
    config.validate().unwrap();
    CausalLm::init(&config, 7, &Default::default())
}

fn ids(seed: u64, count: usize) -> Vec<i32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let id = Uniform::new(0i32, 40).unwrap();
    (0..count).map(|_| id.sample(&mut rng)).collect()
}

fn row(values: &[i32]) -> Tensor<B, 2, Int> {
    let values = TensorData::new(values.to_vec(), [1, values.len()]);
    Tensor::from_data(values, &Default::default())
}

fn text(ids: &[i32]) -> Sequences<B> {
    Sequences::plain(row(ids))
}

fn next(ids: &[i32], first: usize) -> Sequences<B> {
    let positions: Vec<i32> = (first..first + ids.len()).map(|it| it as i32).collect();
    Sequences {
        positions: row(&positions),
        ..text(ids)
    }
}

fn states(hidden: &Hidden<B>) -> Vec<f32> {
    hidden.states.clone().into_data().iter().collect()
}

fn chosen(hidden: &Hidden<B>) -> Vec<Vec<i64>> {
    let of = |routing: &crate::model::routing::Routing<B>| routing.indices.clone().into_data();
    let layers = hidden.routings.iter().map(of);
    layers.map(|layer| layer.iter::<i64>().collect()).collect()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let furthest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "{furthest}");
}

/// The definition, codon by codon: weighted means of affinities, older ones with less weight.
fn predictions(scores: &[Vec<f64>]) -> Vec<Option<Vec<f64>>> {
    let codons: Vec<&[Vec<f64>]> = scores.chunks(LENGTH).collect();
    let mean = |codon: &[Vec<f64>], expert: usize| {
        codon.iter().map(|token| token[expert]).sum::<f64>() / codon.len() as f64
    };
    let of = |codon: usize| {
        let weight = |earlier: usize| MEMORY.powi((codon - 1 - earlier) as i32);
        let all: f64 = (0..codon).map(weight).sum();
        let expert = |expert| {
            let earlier = (0..codon).map(|it| weight(it) * mean(codons[it], expert));
            earlier.sum::<f64>() / all
        };
        (codon > 0).then(|| (0..EXPERTS).map(expert).collect())
    };
    (0..scores.len()).map(|token| of(token / LENGTH)).collect()
}

fn best(scores: &[f64], count: usize) -> HashSet<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.into_iter().take(count).collect()
}

#[test]
fn choices_are_those_of_the_definition() {
    for (codons, pool) in [(soft(), None), (hard(3), Some(3))] {
        let model = model(codons);
        let hidden = model.hidden(&text(&ids(1, 22)));
        let mut changed = 0;
        for (routing, chosen) in hidden.routings.iter().zip(chosen(&hidden)) {
            let all: Vec<f64> = routing.affinities.clone().into_data().iter().collect();
            let tokens: Vec<&[f64]> = all.chunks(EXPERTS + NULL).collect();
            let experts = tokens.iter().map(|token| token[..EXPERTS].to_vec());
            let predicted = predictions(&experts.collect::<Vec<_>>());
            for ((scores, predicted), chosen) in tokens.iter().zip(predicted).zip(chosen.chunks(K))
            {
                let mut choice = scores.to_vec();
                if let Some(predicted) = predicted {
                    let open = pool.map(|pool| best(&predicted, pool));
                    for (expert, predicted) in predicted.iter().enumerate() {
                        match &open {
                            None => choice[expert] += 0.5 * predicted,
                            Some(open) if !open.contains(&expert) => choice[expert] = f64::MIN,
                            Some(_) => {}
                        }
                    }
                }
                let expected = best(&choice, K);
                changed += usize::from(expected != best(scores, K));
                let found = chosen.iter().map(|&slot| slot as usize);
                assert_eq!(found.collect::<HashSet<_>>(), expected);
            }
        }
        assert!(changed > 5, "codons changed {changed} choices only");
    }
}

#[test]
fn a_pool_of_all_experts_is_plain_routing() {
    let text = text(&ids(2, 30));
    let plain = model(Value::Null).hidden(&text);
    let open = model(hard(EXPERTS)).hidden(&text);
    assert_eq!(states(&open), states(&plain));
    let closed = model(hard(3)).hidden(&text);
    assert_ne!(states(&closed), states(&plain));
}

#[test]
fn a_codon_behind_the_first_visits_no_more_experts_than_its_pool_has() {
    let hidden = model(hard(3)).hidden(&text(&ids(3, 40)));
    for layer in chosen(&hidden) {
        let mut widest = 0;
        for codon in layer.chunks(LENGTH * K).skip(1) {
            let experts = codon.iter().filter(|&&slot| (slot as usize) < EXPERTS);
            let distinct = experts.collect::<HashSet<_>>().len();
            assert!(distinct <= 3, "{distinct}");
            widest = widest.max(distinct);
        }
        assert_eq!(widest, 3);
    }
}

#[test]
fn a_token_changes_nothing_before_it() {
    for codons in [soft(), hard(3)] {
        let model = model(codons);
        let before = ids(4, 30);
        for at in [9, 12, 29] {
            let mut after = before.clone();
            after[at] = (after[at] + 1) % 40;
            let [before, after] = [&before, &after].map(|ids| states(&model.hidden(&text(ids))));
            let earlier = at * 16;
            assert_eq!(before[..earlier], after[..earlier]);
            assert_ne!(before[earlier..], after[earlier..]);
        }
    }
}

#[test]
fn documents_in_one_row_know_nothing_of_each_other() {
    for codons in [soft(), hard(3)] {
        let model = model(codons);
        let (one, other) = (ids(5, 11), ids(6, 14));
        let alone = [&one, &other].map(|ids| model.hidden(&text(ids)));
        let positions: Vec<i32> = (0..11).chain(0..14).collect();
        let numbers: Vec<i32> = [vec![0; 11], vec![1; 14]].concat();
        let packed = model.hidden(&Sequences {
            positions: row(&positions),
            mask: AttentionMask::Documents(row(&numbers)),
            ..text(&[one, other].concat())
        });
        assert_close(&states(&packed), &alone.each_ref().map(states).concat());
        for (layer, packed) in chosen(&packed).into_iter().enumerate() {
            let alone = alone.each_ref().map(|hidden| chosen(hidden)[layer].clone());
            assert_eq!(packed, alone.concat());
        }
    }
}

/// Reads the next ids of a sequence; returns its states and routes.
fn read(model: &CausalLm<B>, past: &mut Cache<B>, ids: &[i32]) -> (Vec<f32>, Vec<Vec<i64>>) {
    let hidden = model.extend_one(&next(ids, past.len()), past);
    (states(&hidden), chosen(&hidden))
}

#[test]
fn decoding_in_whatever_pieces_routes_as_reading_at_once_does() {
    let ids = ids(7, 50);
    for codons in [soft(), hard(3)] {
        let model = model(codons);
        let whole = model.hidden(&text(&ids));
        let (expected, routes) = (states(&whole), chosen(&whole));
        for sizes in [vec![1; 50], vec![20, 1, 3, 26], vec![4, 4, 4, 38], vec![50]] {
            let mut past = model.empty_cache(&CacheConfig::default());
            let mut found = vec![Vec::new(); 2];
            for size in sizes {
                let first = past.len();
                let (states, routes) = read(&model, &mut past, &ids[first..first + size]);
                assert_close(&states, &expected[first * 16..][..size * 16]);
                for (found, routes) in found.iter_mut().zip(routes) {
                    found.extend(routes);
                }
            }
            assert_eq!(found, routes);
            assert!(past.earliest() <= 50 - 16);
        }
    }
}

#[test]
fn what_is_taken_back_leaves_no_trace() {
    let (ids, wrong) = (ids(8, 40), ids(9, 16));
    for codons in [soft(), hard(3)] {
        let model = model(codons);
        let whole = states(&model.hidden(&text(&ids)));
        for (read_first, kept) in [(24, 24), (25, 25), (30, 29), (3, 3), (17, 17), (20, 0)] {
            let mut past = model.empty_cache(&CacheConfig::default());
            read(&model, &mut past, &ids[..read_first]);
            read(&model, &mut past, &wrong);
            past.truncate(kept);
            let (found, _) = read(&model, &mut past, &ids[kept..]);
            assert_close(&found, &whole[kept * 16..]);
        }
    }
}

#[test]
fn sequences_of_a_batch_go_on_as_they_would_alone() {
    let all = [ids(10, 9), ids(11, 33), ids(12, 20)];
    for codons in [soft(), hard(3)] {
        let model = model(codons);
        let alone = all.each_ref().map(|ids| states(&model.hidden(&text(ids))));
        let mut pasts = [0; 3].map(|_| model.empty_cache(&CacheConfig::default()));
        for (past, ids) in pasts.iter_mut().zip(&all) {
            read(&model, past, &ids[..ids.len() - 3]);
        }
        for back in [3, 2, 1] {
            let news = all.each_ref().map(|ids| ids[ids.len() - back]);
            let positions = all.each_ref().map(|ids| (ids.len() - back) as i32);
            let input = Sequences {
                positions: row(&positions),
                ..text(&news)
            };
            let mut sequences: Vec<_> = pasts
                .iter_mut()
                .map(|past| Extension::new(past, 1))
                .collect();
            let found = states(&model.extend(&input, &mut sequences));
            for ((found, alone), ids) in found.chunks(16).zip(&alone).zip(&all) {
                assert_close(found, &alone[(ids.len() - back) * 16..][..16]);
            }
        }
    }
}

#[test]
fn codons_hold_no_more_of_a_long_sequence_than_of_a_short_one() {
    let model = model(soft());
    let bytes = |len: usize| {
        let mut past = model.empty_cache(&CacheConfig::default());
        read(&model, &mut past, &ids(13, len));
        let all = past.memory_bytes();
        past.trail = None;
        all - past.memory_bytes()
    };
    // two layers, each with one sum and at most the scores of one codon and of the positions that can be taken back
    let most = 2 * 4 * EXPERTS * (1 + LENGTH + 17);
    for len in [20, 40, 60] {
        let bytes = bytes(len);
        assert!(bytes > 0 && bytes <= most, "{bytes} of {most} at {len}");
    }
}

#[test]
fn what_cannot_be_is_refused_in_a_line() {
    let refused = |codons| config(codons).validate().unwrap_err().to_string();
    let path = "moe.router.codons";
    let too_small = refused(hard(1));
    assert!(
        too_small.contains(&format!("{path}.mode.hard.pool")),
        "{too_small}"
    );
    assert!(too_small.contains("2 to 8"), "{too_small}");
    for (codons, field) in [
        (hard(9), "mode.hard.pool"),
        (
            json!({"length": 0, "mode": {"soft": {"cohesion": 0.1}}}),
            "length",
        ),
        (
            json!({"memory": 1.0, "mode": {"soft": {"cohesion": 0.1}}}),
            "memory",
        ),
        (
            json!({"memory": -0.1, "mode": {"soft": {"cohesion": 0.1}}}),
            "memory",
        ),
        (
            json!({"mode": {"soft": {"cohesion": 0.0}}}),
            "mode.soft.cohesion",
        ),
    ] {
        let message = refused(codons);
        assert!(message.contains(&format!("{path}.{field}")), "{message}");
    }
    let mut quantile = config(hard(2));
    let router = &mut quantile.moe.as_mut().unwrap().router;
    router.balance = serde_json::from_value(json!({"quantile": {}})).unwrap();
    let message = quantile.validate().unwrap_err().to_string();
    assert!(message.contains("balance"), "{message}");
}
