//! Upcycling of whole models.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;

use super::*;
use crate::model::weights::{self, InMemory};
use crate::model::{CausalLm, Sequences};

type Model = CausalLm<Selected>;

const WIDTH: usize = 20;

fn dense() -> ModelConfig {
    let json = serde_json::json!({
        "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 3, "intermediate_size": WIDTH,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "rope": {}, "initializer_range": 0.3,
        "mixer": {"gqa": {
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "attention_bias": true,
            "biased": "inputs", "qk_norm": true
        }}
    });
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    config.validate().unwrap();
    config
}

fn upcycling(kept: &[usize], drop: f64) -> Upcycling {
    Upcycling {
        experts: 4,
        top_k: 2,
        dense: kept.iter().copied().collect(),
        drop,
        seed: 5,
    }
}

fn source(model: &Model) -> InMemory {
    let tensors = weights::collect(model).into_iter();
    let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
    InMemory::new("memory", tensors)
}

fn converted(model: &Model, upcycling: &Upcycling) -> Model {
    let source = source(model);
    let config = upcycling.config(&dense()).unwrap();
    let upcycled = upcycling.source(&source, &dense()).unwrap();
    let model = Model::init(&config, 9, &Default::default());
    weights::load(model, &upcycled).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let device = Default::default();
    let ids: Vec<i32> = (0..40).map(|i| (i * 37 + 11) % 40).collect();
    let ids = Tensor::<Selected, 2, Int>::from_data(TensorData::new(ids, [2, 20]), &device);
    model
        .forward(&Sequences::plain(ids))
        .into_data()
        .iter()
        .collect()
}

/// Largest difference, relative to the largest logit.
fn difference(left: &[f32], right: &[f32]) -> f32 {
    let most = left.iter().fold(0f32, |most, it| most.max(it.abs()));
    let pairs = left.iter().zip(right);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / most
}

#[test]
fn copies_compute_what_the_dense_model_does() {
    let model = Model::init(&dense(), 4, &Default::default());
    for kept in [&[][..], &[0, 2]] {
        let upcycled = converted(&model, &upcycling(kept, 0.0));
        assert_eq!(upcycled.routers().count(), 3 - kept.len());
        let difference = difference(&logits(&model), &logits(&upcycled));
        assert!(difference < 1e-5, "{difference}");
    }
}

#[test]
fn a_router_of_copies_chooses_different_experts_for_different_tokens() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let upcycling = upcycling(&[], 0.0);
    let upcycled = upcycling.source(&source, &dense()).unwrap();
    let centroids = |layer: usize| {
        let name = format!("layers.{layer}.feed_forward.router.gate.weight");
        let values: Vec<f32> = upcycled.data(&name).unwrap().iter().collect();
        values
    };
    assert_eq!(centroids(1), centroids(1));
    assert_ne!(centroids(0), centroids(1));
    let deviation = centroids(0).iter().map(|it| it * it).sum::<f32>() / 32.0;
    assert!((0.1..0.5).contains(&deviation.sqrt()), "{deviation}");
}

#[test]
fn a_share_of_every_experts_dimensions_is_drawn_anew_and_the_others_stay() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let upcycling = upcycling(&[0], 0.5);
    let upcycled = upcycling.source(&source, &dense()).unwrap();
    let values = |source: &dyn WeightSource, name: &str| -> Vec<f32> {
        source
            .data(&format!("layers.1.feed_forward.{name}"))
            .unwrap()
            .iter()
            .collect()
    };
    let copies = upcycled.feed_forwards();
    assert_ne!(copies.dropped(1, 0), copies.dropped(1, 1));
    for expert in 0..4 {
        let dropped = copies.dropped(1, expert);
        assert_eq!(dropped.len(), WIDTH / 2);
        for (name, is_down) in [
            ("gate_proj", false),
            ("up_proj", false),
            ("down_proj", true),
        ] {
            let whole = values(&source, &format!("{name}.weight"));
            let stack = values(&upcycled, &format!("experts.{name}"));
            let part = format!("layers.1.feed_forward.experts.{name}");
            let part: Vec<f32> = upcycled.part(&part, expert).unwrap().iter().collect();
            let of_expert = &stack[expert * whole.len()..][..whole.len()];
            assert_eq!(part, of_expert);
            for (at, (before, after)) in whole.iter().zip(of_expert).enumerate() {
                let dimension = if is_down { at / 8 } else { at % WIDTH };
                assert_eq!(before != after, dropped.contains(&dimension), "{name} {at}");
            }
        }
    }
    let changed = converted(&model, &upcycling);
    let difference = difference(&logits(&model), &logits(&changed));
    assert!(difference > 1e-2, "{difference}");
}

#[test]
fn models_without_plain_dense_feed_forwards_are_refused_in_a_line() {
    let refused = |change: fn(&mut ModelConfig), upcycling: &Upcycling| {
        let mut config = dense();
        change(&mut config);
        upcycling.config(&config).unwrap_err().to_string()
    };
    let plain = upcycling(&[], 0.0);
    let biased = refused(|config| config.mlp_bias = true, &plain);
    assert!(biased.contains("`mlp_bias`"), "{biased}");
    let modules = refused(|config| config.num_nextn_predict_layers = 1, &plain);
    assert!(
        modules.contains("`num_nextn_predict_layers` is 1"),
        "{modules}"
    );
    let twice = plain.config(&dense()).unwrap();
    let twice = plain.config(&twice).unwrap_err();
    assert_eq!(twice, SparseError::HasExperts(4));
    let many = Upcycling { top_k: 5, ..plain };
    let many = refused(|_| {}, &many);
    assert!(many.contains("`--top-k` is 5, expected 1 to 4"), "{many}");
}
