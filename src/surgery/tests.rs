//! Pruning of whole models.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;

use super::*;
use crate::data::{PADDING, PackedBatch};
use crate::domain::Domain;
use crate::domain::UNTAGGED;
use crate::model::feed_forward::FeedForward;
use crate::model::weights::{self, InMemory, WeightSource};
use crate::model::{CausalLm, ModelConfig, Sequences};

type Model = CausalLm<Selected>;

/// A model of two layers with experts and one MTP module; `nulls` is the number of null experts.
fn config(domains: &str, nulls: usize) -> ModelConfig {
    let router = match nulls {
        0 => serde_json::json!({}),
        _ => serde_json::json!({"null_experts": nulls, "k_target": 1.5}),
    };
    let json = serde_json::json!({
        "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 3, "intermediate_size": 5,
        "first_k_dense_replace": 1, "max_position_embeddings": 16, "layer_types": ["gqa"],
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
        "rope": {}, "initializer_range": 0.3, "num_nextn_predict_layers": 1,
        "moe": {
            "n_routed_experts": 20, "num_experts_per_tok": 2, "moe_intermediate_size": 5, "router": router
        },
        "domains": {"mode": domains}
    });
    let config: ModelConfig = serde_json::from_value(json).unwrap();
    config.validate().unwrap();
    config
}

/// A model whose biases keep tokens from choosing the experts in `out`.
fn model(config: &ModelConfig, out: &[usize]) -> Model {
    let mut model = Model::init(config, 1, &Default::default());
    let blocks = model.layers.iter_mut();
    for block in blocks.chain(model.mtp.iter_mut().map(|module| &mut module.block)) {
        if let FeedForward::Moe(moe) = &mut block.feed_forward {
            let slots = config.moe.as_ref().unwrap().slots();
            let bias = |slot| if out.contains(&slot) { -9.0f32 } else { 0.0 };
            let bias: Vec<f32> = (0..slots).map(bias).collect();
            let parameter = moe.router.e_score_correction_bias.clone();
            let bias = TensorData::new(bias, [slots]);
            moe.router.e_score_correction_bias =
                parameter.map(|_| Tensor::from_data(bias, &Default::default()));
        }
    }
    model
}

fn source(model: &Model) -> InMemory {
    let tensors = weights::collect(model).into_iter();
    let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
    InMemory::new("memory", tensors)
}

fn input(tag: usize) -> Sequences<Selected> {
    let ids = TensorData::new(vec![1i32, 9, 4, 4, 7, 2, 10, 3], [2, 4]);
    let mut input = Sequences::plain(Tensor::<Selected, 2, Int>::from_data(
        ids,
        &Default::default(),
    ));
    input.tags = Some(Tensor::from_data([tag as i32; 8], &Default::default()));
    input
}

/// Logits of the model and of its MTP module.
fn outputs(model: &Model, input: &Sequences<Selected>) -> [TensorData; 2] {
    let hidden = model.hidden(input);
    let further = model.predict_further(0, hidden.states.clone(), input);
    [hidden.states, further.states].map(|states| model.logits(states).into_data())
}

/// A batch of one row with nine tokens of code and three of padding.
fn batch() -> PackedBatch {
    let count = 12;
    let mut segments = vec![0; count];
    segments[9..].fill(PADDING);
    PackedBatch {
        rows: 1,
        seq_len: count,
        ids: (0..count as i32).map(|id| id % 11).collect(),
        segments,
        positions: (0..count as i32).collect(),
        tags: vec![UNTAGGED; count],
        domains: vec![Domain::Code.index() as u8; count],
        counted: vec![true; count],
        bytes: vec![1; count],
        documents: vec![vec![0]],
    }
}

fn seen(model: &Model, config: &ModelConfig, domain: Option<Domain>) -> Activities {
    observe(model, config, std::iter::once(Ok(batch())), domain).unwrap()
}

#[test]
fn without_experts_that_nobody_chooses_a_model_says_the_same() {
    let out = [3, 7, 8, 19];
    for (domains, null) in [("off", 0), ("off", 3), ("soft", 0), ("soft", 2)] {
        let config = config(domains, null);
        let whole = model(&config, &out);
        let mut seen = seen(&whole, &config, None);
        let places: Vec<Place> = seen.keys().copied().collect();
        assert_eq!(places, [Place::Layer(1), Place::Layer(2), Place::Mtp(0)]);
        for layer in seen.values_mut() {
            for expert in 0..20 {
                assert!(layer.tokens[expert] == 0 || !out.contains(&expert));
                // the kept experts get more visits, so that they are chosen
                layer.tokens[expert] += u64::from(!out.contains(&expert));
            }
        }

        let kept = Kept::choose(&config, &seen, 16, Criterion::Load, 0).unwrap();
        let source = source(&whole);
        let pruned = Pruned::new(&source, &config, &kept);
        for name in pruned.names() {
            let whole = pruned.data(&name).unwrap();
            let first = pruned.part(&name, 0).unwrap();
            let is_first = whole.bytes[..first.bytes.len()] == first.bytes[..];
            assert!(is_first && first.shape[..] == whole.shape[1..], "{name}");
        }
        let part = Model::init(&kept.config, 2, &Default::default());
        let part = weights::load(part, &pruned).unwrap();
        for tag in [Domain::Code.index(), usize::from(UNTAGGED)] {
            for (before, after) in outputs(&whole, &input(tag))
                .iter()
                .zip(outputs(&part, &input(tag)))
            {
                after.assert_approx_eq::<f32>(before, burn::tensor::Tolerance::absolute(1e-6));
            }
        }
    }
}

#[test]
fn one_expert_that_is_needed_is_missed() {
    let config = config("off", 0);
    let whole = model(&config, &[]);
    let mut seen = seen(&whole, &config, None);
    // reverses the order of the experts' visits
    for layer in seen.values_mut() {
        layer
            .tokens
            .iter_mut()
            .for_each(|tokens| *tokens = 100 - *tokens);
    }
    let kept = Kept::choose(&config, &seen, 10, Criterion::Load, 0).unwrap();
    let source = source(&whole);
    let part = Model::init(&kept.config, 2, &Default::default());
    let part = weights::load(part, &Pruned::new(&source, &config, &kept)).unwrap();
    let [before, after] =
        [&whole, &part].map(|model| outputs(model, &input(usize::from(UNTAGGED))));
    assert_ne!(before[0], after[0]);
}

#[test]
fn every_choice_of_a_token_is_counted_once_and_padding_never() {
    for null in [0, 3] {
        let config = config("off", null);
        let model = model(&config, &[]);
        let whole = seen(&model, &config, None);
        for (place, layer) in &whole {
            assert_eq!(layer.read, 9);
            let chosen: u64 = layer.tokens.iter().sum();
            match null {
                0 => assert_eq!(chosen, 18, "{place}"),
                // the others chose null experts
                _ => assert!(chosen < 18, "{place}: {chosen}"),
            }
            let is_given = |(tokens, given): (&u64, &f64)| (*tokens > 0) == (*given > 0.0);
            assert!(layer.tokens.iter().zip(&layer.given).all(is_given));
        }
        assert_eq!(whole, seen(&model, &config, Some(Domain::Code)));
        let other = seen(&model, &config, Some(Domain::Legal));
        assert!(other.values().all(|layer| layer.read == 0));
    }
}

/// With a single choice per token, an expert's contribution is its gate times the norm of its output.
#[test]
fn a_contribution_is_the_gate_times_the_length_of_the_output() {
    let mut config = config("off", 0);
    config.moe.as_mut().unwrap().num_experts_per_tok = 1;
    let model = model(&config, &[]);
    let rows = batch();
    let mut expected = 0.0;
    let input = crate::training::batch::sequences(&rows, &Default::default());
    model.watch_routers(&input, |routed| {
        if routed.layer == 2 {
            let output = routed
                .experts
                .forward(routed.hidden.clone(), &routed.routing)
                .into_data();
            let rows: Vec<f64> = output.iter::<f64>().collect();
            let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
            expected = rows.chunks(8).take(9).map(length).sum();
        }
    });
    let found: f64 = seen(&model, &config, None)[&Place::Layer(2)]
        .given
        .iter()
        .sum();
    assert!(
        (found / expected - 1.0).abs() < 1e-5,
        "{found}, expected {expected}"
    );
}
