//! Carving of whole models.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;

use super::*;
use crate::data::PackedBatch;
use crate::domain::UNTAGGED;
use crate::model::weights::{self, InMemory, WeightSource};
use crate::model::{CausalLm, Sequences};
use crate::surgery::sparse::{Phases, SparseSource};
use crate::tokenizer::Tokenizer;

type Model = CausalLm<Selected>;

const VOCABULARY: usize = 50;

fn dense() -> ModelConfig {
    let json = serde_json::json!({
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 4, "intermediate_size": 64,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "rope": {}, "initializer_range": 0.3,
        "mixer": {"gqa": {
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "attention_bias": true,
            "biased": "inputs", "qk_norm": true
        }}
    });
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    config.validate().unwrap();
    config
}

fn carving() -> Carving {
    Carving {
        experts: 16,
        shared: 2,
        top_k: 4,
        dense: [0].into(),
        router: RouterRule::Ridge,
        division: Division::Clustered,
        seed: 3,
        analyse: false,
    }
}

fn source(model: &Model) -> InMemory {
    let tensors = weights::collect(model).into_iter();
    let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
    InMemory::new("memory", tensors)
}

/// Rows of a text with some padding.
fn text(seed: usize, batches: usize) -> Vec<PackedBatch> {
    let (rows, seq_len) = (4, 32);
    let count = rows * seq_len;
    let batch = |number: usize| {
        let id = |place: usize| {
            let mixed = (place + 1) * (number * 97 + seed * 31 + 13) * 2_654_435_761;
            ((mixed >> 7) % VOCABULARY) as i32
        };
        let is_padding = |place: usize| place >= count - 5;
        PackedBatch {
            rows,
            seq_len,
            ids: (0..count).map(id).collect(),
            segments: (0..count)
                .map(|it| if is_padding(it) { -1 } else { 0 })
                .collect(),
            positions: (0..count).map(|place| (place % seq_len) as i32).collect(),
            tags: vec![UNTAGGED; count],
            domains: vec![0; count],
            counted: (0..count)
                .map(|it| it % seq_len + 1 < seq_len && !is_padding(it + 1))
                .collect(),
            bytes: vec![1; count],
            documents: vec![vec![0]; rows],
        }
    };
    (0..batches).map(batch).collect()
}

fn carved(carving: &Carving, source: &InMemory) -> Carved {
    let calibration = text(1, 12);
    let held_out = HeldOutText::new(text(2, 3), &Tokenizer::bytes());
    let texts = Texts {
        calibration: &calibration,
        held_out: &held_out,
    };
    let mut phases = Phases::new(None);
    let device = Default::default();
    carve::<Selected>(
        carving,
        &dense(),
        source,
        texts,
        &device,
        &mut phases,
        |_| {},
    )
    .unwrap()
}

/// The carved model with `top_k` experts per token.
fn loaded(carving: &Carving, source: &InMemory, layers: &BTreeMap<usize, CarvedLayer>) -> Model {
    let config = carving.config(&dense()).unwrap();
    let slices = Slices::new(source, layers.clone());
    let sparse = SparseSource::new(source, layers.keys().copied(), slices);
    weights::load(Model::init(&config, 9, &Default::default()), &sparse).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let device = Default::default();
    let ids: Vec<i32> = (0..40).map(|i| (i * 37 + 11) % VOCABULARY as i32).collect();
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

fn mean(records: &[LayerRecord], error: impl Fn(&LayerRecord) -> f64) -> f64 {
    records.iter().map(error).sum::<f64>() / records.len() as f64
}

#[test]
fn with_all_experts_on_the_carved_model_computes_what_the_dense_one_does() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    for shared in [0, 2] {
        let carving = Carving {
            shared,
            ..carving()
        };
        let found = carved(&carving, &source);
        assert_eq!(found.layers.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        let all = Carving {
            top_k: carving.experts - shared,
            ..carving.clone()
        };
        let whole = difference(
            &logits(&model),
            &logits(&loaded(&all, &source, &found.layers)),
        );
        assert!(whole < 1e-4, "{whole}");
        let some = loaded(&carving, &source, &found.layers);
        let some = difference(&logits(&model), &logits(&some));
        assert!(some > 1e-3, "{some}");
    }
}

#[test]
fn layers_are_carved_on_the_output_of_the_carved_layers_before_them() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let found = carved(&carving(), &source);
    // the streamed loss is that of the whole model
    let held_out = text(2, 3);
    for (model, streamed) in [
        (&model, &found.dense),
        (&loaded(&carving(), &source, &found.layers), &found.carved),
    ] {
        let losses = held_out.iter().map(|rows| {
            let mean = crate::training::loss::mean_loss(model, rows).unwrap();
            (mean, rows.counted_tokens() as f64)
        });
        let losses: Vec<(f64, f64)> = losses.collect();
        let tokens: f64 = losses.iter().map(|it| it.1).sum();
        let loss = losses.iter().map(|it| it.0 * it.1).sum::<f64>() / tokens;
        assert!(
            (loss - streamed.loss).abs() < 1e-4,
            "{loss}, {}",
            streamed.loss
        );
        assert_eq!(tokens as u64, streamed.tokens);
        assert!((streamed.perplexity.ln() - loss).abs() < 1e-4);
    }
}

#[test]
fn the_error_falls_with_more_experts_and_better_routers_have_less() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let errors = [1, 4, 9].map(|top_k| {
        let carving = Carving {
            top_k,
            analyse: true,
            ..carving()
        };
        let found = carved(&carving, &source);
        let own = mean(&found.records, |it| it.quality.error);
        let analysis = |it: &LayerRecord| it.analysis.clone().unwrap();
        let oracle = mean(&found.records, |it| analysis(it).oracle.error);
        let random = mean(&found.records, |it| analysis(it).random.error);
        assert!(oracle < own && own < random, "{oracle} {own} {random}");
        assert!(
            found
                .records
                .iter()
                .all(|it| analysis(it).oracle.recall == 1.0)
        );
        let recall = mean(&found.records, |it| it.quality.recall);
        assert!(recall > mean(&found.records, |it| analysis(it).random.recall));
        own
    });
    assert!(errors[0] > errors[1] && errors[1] > errors[2], "{errors:?}");
}

#[test]
fn the_same_text_and_seed_give_the_same_experts() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let found = carved(&carving(), &source);
    assert_eq!(found, carved(&carving(), &source));
}

#[test]
fn sizes_that_do_not_fit_are_refused_in_a_line() {
    let refused = |change: fn(&mut Carving)| {
        let mut carving = carving();
        change(&mut carving);
        carving.config(&dense()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|it| it.experts = 15),
        "15 experts do not divide `intermediate_size` 64: take 8 or 16"
    );
    assert!(refused(|it| it.shared = 16).contains("`--shared` is 16, expected 0 to 15"));
    assert!(refused(|it| it.top_k = 15).contains("`--top-k` is 15, expected 1 to 14"));
}

/// Equal split in the order of the neurons, and a router that was never fitted: far worse than a carving.
#[test]
fn an_equal_split_with_an_unfitted_router_is_far_worse() {
    let model = Model::init(&dense(), 4, &Default::default());
    let source = source(&model);
    let carving = Carving {
        shared: 4,
        top_k: 4,
        ..carving()
    };
    let found = carved(&carving, &source);
    let width = 64 / 16;
    let naive = found.layers.iter().map(|(&layer, of)| {
        let groups: Vec<Vec<usize>> = (0..64)
            .collect::<Vec<_>>()
            .chunks(width)
            .map(<[usize]>::to_vec)
            .collect();
        let weight = |at: usize| ((at * 7919 + layer) % 101) as f32 / 101.0 - 0.5;
        let router = LinearRouter {
            weights: (0..of.router.weights.len()).map(weight).collect(),
            intercepts: vec![0.0; of.router.intercepts.len()],
            ..of.router
        };
        let partition = Partition {
            shared: groups[..4].concat(),
            routed: groups[4..].to_vec(),
        };
        (layer, CarvedLayer { partition, router })
    });
    let naive: BTreeMap<usize, CarvedLayer> = naive.collect();
    let dense = logits(&model);
    let error = |layers| {
        let found = logits(&loaded(&carving, &source, layers));
        let pairs = dense.iter().zip(&found);
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (ours, naive) = (error(&found.layers), error(&naive));
    assert!(naive > 1.5 * ours, "{naive}, carved {ours}");
}

/// Routers of other engines compute nearly what carved routers do, until training changes the gates.
#[test]
fn a_carved_model_has_a_near_counterpart_with_gates_that_others_know() {
    let model = Model::init(&dense(), 4, &Default::default());
    let dense_source = source(&model);
    let carving = carving();
    let found = carved(&carving, &dense_source);
    let carved = loaded(&carving, &dense_source, &found.layers);
    let config = carving.config(&dense()).unwrap();
    assert!(EqualGates::concerns(&config) && !EqualGates::concerns(&dense()));

    let (weights, config) = EqualGates::new(Box::new(source(&carved)), &config).unwrap();
    assert!(!EqualGates::concerns(&config));
    config.validate().unwrap();
    let converted = Model::init(&config, 9, &Default::default());
    let converted = weights::load(converted, &weights).unwrap();
    let apart = difference(&logits(&carved), &logits(&converted));
    assert!(apart < 1e-3, "{apart}");
    // without the intercepts, other experts are chosen
    let mut without = weights.names().into_iter().map(|name| {
        let data = weights.data(&name).unwrap();
        if name.ends_with("e_score_correction_bias") {
            (name, TensorData::zeros::<f32, _>(data.shape))
        } else {
            (name, data)
        }
    });
    let without = InMemory::new("memory", without.by_ref());
    let converted = Model::init(&config, 9, &Default::default());
    let converted = weights::load(converted, &without).unwrap();
    let apart = difference(&logits(&carved), &logits(&converted));
    assert!(apart > 1e-2, "{apart}");
}

#[test]
fn trained_gates_and_a_balanced_choice_have_no_counterpart() {
    let model = Model::init(&dense(), 4, &Default::default());
    let dense_source = source(&model);
    let carving = carving();
    let found = carved(&carving, &dense_source);
    let carved = loaded(&carving, &dense_source, &found.layers);
    let config = carving.config(&dense()).unwrap();
    let layer = "layers.2.feed_forward.router";
    for name in ["unit_scale", "e_score_correction_bias"] {
        let name = format!("{layer}.{name}");
        let tensors = source(&carved);
        let mut values: Vec<f32> = tensors.data(&name).unwrap().iter().collect();
        values[3] = 0.01;
        let shape = [values.len()];
        let tensors = tensors.names().into_iter().map(|other| {
            let data = if other == name {
                TensorData::new(values.clone(), shape)
            } else {
                tensors.data(&other).unwrap()
            };
            (other, data)
        });
        let changed = InMemory::new("memory", tensors.collect::<Vec<_>>());
        let refused = EqualGates::new(Box::new(changed), &config).unwrap_err();
        assert!(refused.to_string().contains(&name), "{refused}");
    }
}
