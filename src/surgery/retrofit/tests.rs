//! Adding null experts to whole models.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;
use serde_json::json;

use super::*;
use crate::data::{DataError, PackedBatch};
use crate::domain::UNTAGGED;
use crate::model::weights::{self, InMemory, WeightSource};
use crate::model::{CausalLm, Sequences};
use crate::training::TrainingConfig;

type Model = CausalLm<Selected>;

const K: usize = 2;

fn config(router: serde_json::Value, domains: &str) -> ModelConfig {
    let json = json!({
        "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 3,
        "intermediate_size": 5, "first_k_dense_replace": 1, "max_position_embeddings": 64,
        "layer_types": ["gqa"], "rope": {}, "initializer_range": 0.3, "num_nextn_predict_layers": 1,
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
        "moe": {
            "n_routed_experts": 10, "num_experts_per_tok": K, "moe_intermediate_size": 5, "router": router
        },
        "domains": {"mode": domains}
    });
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    config.validate().unwrap();
    config
}

fn source(model: &Model) -> InMemory {
    let tensors = weights::collect(model).into_iter();
    let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
    InMemory::new("memory", tensors)
}

/// The model with null experts, and its configuration.
fn widened(model: &Model, config: &ModelConfig) -> (CausalLm<Autodiff<Selected>>, ModelConfig) {
    let config = with_null_experts(config, 3, 1.25).unwrap();
    let source = source(model);
    let student = CausalLm::init(&config, 9, &Default::default());
    let student = weights::load(student, &Widened::new(&source, &config)).unwrap();
    (student, config)
}

fn text() -> Sequences<Selected> {
    let device = Default::default();
    let ids: Vec<i32> = (0..40).map(|i| (i * 37 + 11) % 40).collect();
    let ids = Tensor::<Selected, 2, Int>::from_data(TensorData::new(ids, [2, 20]), &device);
    Sequences::plain(ids)
}

#[test]
fn null_experts_that_nobody_chooses_change_nothing() {
    for (router, domains) in [(json!({}), "off"), (json!({}), "soft")] {
        let config = config(router, domains);
        let model = Model::init(&config, 4, &Default::default());
        let (student, _) = widened(&model, &config);
        let closed = student
            .valid()
            .map_routers(|_, it| it.with_null_bias_moved(-9.0));
        let [before, after] = [&model, &closed].map(|it| it.forward(&text()).into_data());
        assert_eq!(before, after);
        let open = closed.map_routers(|_, it| it.with_null_bias_moved(18.0));
        assert_ne!(before, open.forward(&text()).into_data());
    }
}

/// Successive rows of a repetitive text.
fn rows() -> impl FnMut() -> Result<PackedBatch, DataError> {
    let (rows, seq_len) = (4, 32);
    let count = rows * seq_len;
    let mut at = 0;
    move || {
        at += 1;
        let id = |place: usize| (3 + (place + 5 * at) * place % 11) as i32;
        Ok(PackedBatch {
            rows,
            seq_len,
            ids: (0..count).map(id).collect(),
            segments: vec![0; count],
            positions: (0..count).map(|place| (place % seq_len) as i32).collect(),
            tags: vec![UNTAGGED; count],
            domains: vec![0; count],
            counted: vec![true; count],
            bytes: vec![1; count],
            documents: vec![vec![0]; rows],
        })
    }
}

#[test]
fn routers_learn_to_visit_as_many_experts_as_asked_and_nothing_else_changes() {
    let config = config(json!({}), "off");
    let teacher = Model::init(&config, 4, &Default::default());
    let (student, config) = widened(&teacher, &config);
    let lesson = Lesson {
        steps: 30,
        learning_rate: 1e-2,
        teacher_weight: 1.0,
    };
    let mut seen = Vec::new();
    let before = source(&student.valid());
    let training = TrainingConfig::default();
    let taught = calibrate(
        &teacher,
        student,
        &config,
        (&lesson, &training),
        rows(),
        |progress| seen.push(progress),
    )
    .unwrap();

    assert_eq!(seen.len(), 30);
    let first = seen[0].visited;
    assert!(first > 0.9 * K as f64, "{first} at first");
    let late: f64 = seen[20..].iter().map(|it| it.visited).sum::<f64>() / 10.0;
    assert!((late - 1.25).abs() < 0.05, "{late} in the end");

    let after = source(&taught.valid());
    for name in before.names() {
        let same = before.data(&name).unwrap() == after.data(&name).unwrap();
        assert_eq!(same, !name.contains(".router."), "{name}");
    }
    // the biases of existing experts are unchanged
    let bias = "layers.1.feed_forward.router.e_score_correction_bias";
    let of = |source: &InMemory| source.data(bias).unwrap().iter::<f32>().collect::<Vec<_>>();
    let (before, after) = (of(&before), of(&after));
    assert_eq!(before[..10], after[..10]);
    assert_ne!(before[10..], after[10..]);
}

#[test]
fn a_teacher_that_counts_keeps_the_model_near() {
    let config = config(json!({}), "off");
    let teacher = Model::init(&config, 4, &Default::default());
    let late = |teacher_weight| {
        let (student, config) = widened(&teacher, &config);
        let lesson = Lesson {
            steps: 60,
            learning_rate: 1e-2,
            teacher_weight,
        };
        let mut late = 0.0;
        let training = TrainingConfig::default();
        calibrate(
            &teacher,
            student,
            &config,
            (&lesson, &training),
            rows(),
            |progress| {
                if progress.step > 45 {
                    late += progress.divergence / 15.0;
                }
            },
        )
        .unwrap();
        late
    };
    let (near, far) = (late(30.0), late(0.0));
    assert!(near < 0.7 * far, "{near} with the teacher, {far} without");
}

#[test]
fn the_column_of_a_null_expert_is_the_mean_of_those_of_the_experts() {
    let config = config(json!({}), "soft");
    let model = Model::init(&config, 4, &Default::default());
    let source = source(&model);
    let config = with_null_experts(&config, 3, 1.25).unwrap();
    let widened = Widened::new(&source, &config);
    let name = "layers.1.feed_forward.router.gate.weight";
    let wide: Vec<f32> = widened.data(name).unwrap().iter().collect();
    let narrow: Vec<f32> = source.data(name).unwrap().iter().collect();
    assert_eq!(widened.shape(name), Some(vec![8, 13]));
    for (wide, narrow) in wide.chunks(13).zip(narrow.chunks(10)) {
        assert_eq!(wide[..10], *narrow);
        assert_eq!(wide[10..], [narrow.iter().sum::<f32>() / 10.0; 3]);
    }
    let table: Vec<f32> = widened.data("domain_prior.table").unwrap().iter().collect();
    assert!(table.chunks(13).all(|row| row[10..] == [0.0; 3]));
}

#[test]
fn what_cannot_have_null_experts_is_refused_in_a_line() {
    let refused = |config: &ModelConfig, null, k_target| {
        with_null_experts(config, null, k_target)
            .unwrap_err()
            .to_string()
    };
    let plain = config(json!({}), "off");
    let too_many = refused(&plain, 2, 2.5);
    assert!(
        too_many.contains("`moe.router.k_target` is 2.5"),
        "{too_many}"
    );
    assert!(refused(&plain, 2, 0.0).contains("k_target"));
    assert!(refused(&plain, 0, 1.5).contains("null_experts"));
    let mut dense = plain.clone();
    dense.moe = None;
    assert_eq!(with_null_experts(&dense, 2, 1.5), Err(RetrofitError::Dense));
    let has = config(json!({"null_experts": 4, "k_target": 1.5}), "off");
    assert_eq!(
        with_null_experts(&has, 2, 1.2),
        Err(RetrofitError::HasNull(4))
    );
    let grows = config(json!({"initial_experts": 5}), "off");
    assert_eq!(with_null_experts(&grows, 2, 1.2), Err(RetrofitError::Grows));
    // an auxiliary loss does not control the visits per token, so the rule is replaced
    let auxiliary = config(json!({"balance": {"auxiliary": {}}}), "off");
    let changed = with_null_experts(&auxiliary, 2, 1.2).unwrap();
    assert_eq!(changed.moe.unwrap().router.balance, Rule::Sign);
}
