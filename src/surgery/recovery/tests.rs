//! Recovery against the loss written out, and of a model whose experts were lost.

use burn::backend::Autodiff;
use burn::tensor::TensorData;
use darkhorse_backends::select::Selected;
use serde_json::json;

use super::*;
use crate::domain::UNTAGGED;
use crate::model::weights::{self, WeightSource};
use crate::surgery::retrofit::divergence;
use crate::training::loss::{self, Weights};

type B = Autodiff<Selected>;

pub(super) fn config(tied: bool) -> ModelConfig {
    let json = json!({
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 12,
        "first_k_dense_replace": 1, "max_position_embeddings": 256, "layer_types": ["gqa"], "rope": {},
        "initializer_range": 0.3, "tie_word_embeddings": tied, "domains": {"mode": "off"},
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "moe": {
            "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "n_shared_experts": 1
        }
    });
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    config.validate().unwrap();
    config
}

/// Rows of a text in which a token mostly determines the next; some targets do not count.
pub(super) fn rows(step: u64) -> PackedBatch {
    let (rows, seq_len) = (3, 120);
    let count = rows * seq_len;
    let id = |place: usize| ((place * place + 7 * step as usize) % 40) as i32;
    PackedBatch {
        rows,
        seq_len,
        ids: (0..count).map(id).collect(),
        segments: (0..count).map(|place| (place / 50) as i32).collect(),
        positions: (0..count).map(|place| (place % 50) as i32).collect(),
        tags: vec![UNTAGGED; count],
        domains: vec![0; count],
        counted: (0..count).map(|place| place % 7 != 3).collect(),
        bytes: vec![1; count],
        documents: vec![vec![0]; rows],
    }
}

fn source<B: TrainingBackend>(model: &CausalLm<B>) -> InMemory {
    let tensors = collect(&model.valid()).into_iter();
    let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
    InMemory::new("memory", tensors)
}

/// A teacher, and a student that lost half of every expert's numbers.
fn pair(config: &ModelConfig) -> (CausalLm<Selected>, CausalLm<B>) {
    let device = Default::default();
    let teacher = CausalLm::<B>::init(config, 4, &device);
    let whole = source(&teacher);
    let tensors = whole.names().into_iter().map(|name| {
        let data = whole.data(&name).unwrap();
        let shape = data.shape.to_vec();
        let lost = |at: usize| name.contains(".experts.") && at.is_multiple_of(2);
        let values = data.iter::<f32>().enumerate();
        let values = values.map(|(at, value)| if lost(at) { 0.0 } else { value });
        (
            name.clone(),
            TensorData::new(values.collect::<Vec<f32>>(), shape),
        )
    });
    let damaged = InMemory::new("damaged", tensors);
    let student = weights::load(CausalLm::<B>::init(config, 4, &device), &damaged).unwrap();
    (teacher.valid(), student)
}

#[test]
fn losses_and_gradients_are_those_of_the_formula() {
    for tied in [false, true] {
        let config = config(tied);
        let lesson = Lesson {
            divergence: 0.7,
            ..Lesson::of_steps(1)
        };
        let (teacher, student) = pair(&config);
        let student = lora::adapt(student, (&config, &lesson.lora), 1).unwrap();
        let batch = MicroBatch::of_step(1, vec![rows(1)], 0).remove(0);
        assert!(batch.rows.ids.len() > 256, "more than one chunk");
        let (total, _, progress) = losses(&teacher, &student, &batch, &lesson);
        let found = GradientsParams::from_grads(total.backward(), &student);

        let none = Weights {
            mtp: 0.0,
            balance: 0.0,
        };
        let plain = loss::loss(&student, &batch, none);
        let apart = divergence(&teacher, &student, &plain.states, &batch);
        let device = Default::default();
        let own = student.trace(&batch::sequences(&batch.rows, &device));
        let taught = teacher.trace(&batch::sequences(&batch.rows, &device));
        let layers = own.layers.iter().zip(taught.layers).map(|(own, taught)| {
            let taught = Tensor::<B, 3>::from_inner(taught.hidden);
            let error = (own.hidden.clone() - taught.clone()).square().sum_dim(2);
            (error / taught.square().sum_dim(2)).mean()
        });
        let layers = Tensor::cat(layers.collect(), 0).mean();
        let number = |it: &Tensor<B, 1>| it.clone().into_data().iter::<f64>().sum::<f64>();
        for (found, expected) in [
            (progress.loss, number(&plain.next_token)),
            (progress.divergence, number(&apart)),
            (progress.layer_error, number(&layers)),
        ] {
            assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
        }
        let total = plain.next_token + apart.mul_scalar(0.7) + layers.mul_scalar(lesson.layers);
        let expected = GradientsParams::from_grads(total.backward(), &student);
        let mut compared = 0;
        for (id, name) in param_names(&student) {
            let of = |from: &GradientsParams| -> Option<Vec<f32>> {
                let of_1 = || Some(from.get::<Selected, 1>(id)?.into_data());
                let of_2 = || Some(from.get::<Selected, 2>(id)?.into_data());
                let of_3 = || Some(from.get::<Selected, 3>(id)?.into_data());
                let data = if name.contains(".experts.") {
                    of_3()
                } else if name.ends_with("norm.weight") {
                    of_1()
                } else {
                    of_2()
                };
                Some(data?.iter::<f32>().collect())
            };
            if name.ends_with("correction_bias") || name.contains("embed") {
                continue;
            }
            let (Some(found), Some(expected)) = (of(&found), of(&expected)) else {
                continue;
            };
            let largest = expected.iter().fold(0.0f32, |most, it| most.max(it.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                let apart = (found - expected).abs();
                assert!(apart < 1e-3 * largest + 1e-6, "{name}: {found} {expected}");
            }
            compared += usize::from(largest > 0.0);
        }
        assert!(compared > 20, "{compared}");
    }
}

#[test]
fn a_damaged_model_gets_nearer_to_its_teacher_and_stays_a_plain_model() {
    let config = config(true);
    let (teacher, student) = pair(&config);
    let before = source(&student);
    let lesson = Lesson {
        learning_rate: 2e-3,
        // the text is another one than the teacher knows
        divergence: 50.0,
        layers: 10.0,
        ..Lesson::of_steps(30)
    };
    let mut told = Vec::new();
    let recovered = recover::<B>(
        &teacher,
        student,
        (&config, &lesson),
        |step| Ok(rows(step % 5)),
        |progress| told.push(progress),
    );
    let recovered = recovered.unwrap();
    assert_eq!(told.len(), 30);
    assert_eq!(told[29].tokens, 30 * 360);
    let (first, last) = (told[0], told[29]);
    assert!(
        last.divergence < 0.7 * first.divergence,
        "{first:?} {last:?}"
    );
    assert!(last.layer_error < first.layer_error, "{first:?} {last:?}");

    let plain = CausalLm::<Selected>::init(&config, 0, &Default::default());
    weights::load(plain, &recovered).unwrap();
    for name in before.names() {
        let [old, new] = [&before as &dyn WeightSource, &recovered].map(|source| {
            let data = source.data(&name).unwrap();
            data.iter::<f32>().collect::<Vec<_>>()
        });
        // attention, feed-forwards, norms and routers learn; the embedding stays
        assert_eq!(old == new, name == "embed_tokens", "{name}");
    }
}

#[test]
fn no_step_changes_nothing_and_a_loss_that_is_none_is_told() {
    let config = config(false);
    let (teacher, student) = pair(&config);
    let before = source(&student);
    let none = Lesson::of_steps(0);
    let same = recover::<B>(
        &teacher,
        student.clone(),
        (&config, &none),
        |step| Ok(rows(step)),
        |_| {},
    );
    let same = same.unwrap();
    for name in before.names() {
        assert_eq!(
            before.data(&name).unwrap(),
            same.data(&name).unwrap(),
            "{name}"
        );
    }
    let wild = Lesson {
        learning_rate: f64::INFINITY,
        ..Lesson::of_steps(3)
    };
    let refused = recover::<B>(
        &teacher,
        student,
        (&config, &wild),
        |step| Ok(rows(step)),
        |_| {},
    );
    let refused = refused.map(|_| ()).unwrap_err().to_string();
    assert!(
        refused.starts_with("the loss of recovery step 2 is not finite"),
        "{refused}"
    );
}

#[test]
fn the_rate_rises_stays_and_falls() {
    let lesson = Lesson {
        learning_rate: 1.0,
        ..Lesson::of_steps(100)
    };
    let rates = [1, 3, 40, 51, 76, 100].map(|step| (lesson.rate(step) * 100.0).round());
    assert_eq!(rates, [33.0, 100.0, 100.0, 100.0, 50.0, 2.0]);
}
