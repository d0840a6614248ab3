//! Refits of models whose down projections are known to be wrong.

use darkhorse_backends::select::Selected;

use super::*;
use crate::model::{ModelConfig, Sequences};
use crate::surgery::recovery::tests::{config, rows};
use crate::training::batch;

type Model = CausalLm<Selected>;

fn model(config: &ModelConfig, seed: u64) -> Model {
    CausalLm::init(config, seed, &Default::default())
}

/// The model with every down projection halved.
fn damaged(mut model: Model) -> Model {
    for layer in &mut model.layers {
        if let FeedForward::Moe(moe) = &mut layer.feed_forward {
            let half = down(moe).mul_scalar(-0.5);
            *moe = changed(moe.clone(), half);
        }
    }
    model
}

fn sequences(rows: &PackedBatch) -> Sequences<Selected> {
    batch::sequences(rows, &Default::default())
}

fn largest<const D: usize>(values: Tensor<Selected, D>) -> f32 {
    values.abs().max().into_scalar()
}

#[test]
fn features_times_down_projections_are_the_layers_output() {
    let model = model(&config(false), 3);
    let text = rows(1);
    let stream = ResidualStream::embed(&model, std::slice::from_ref(&text));
    let layer = &model.layers[1];
    let FeedForward::Moe(moe) = &layer.feed_forward else {
        panic!("layer 1 has experts");
    };
    for inputs in stream.inputs(layer) {
        let context = model.whole_context(&sequences(&text));
        let [tokens, hidden] = inputs.dims();
        let whole = inputs.clone().reshape([1, tokens, hidden]);
        let (expected, _) = moe.forward(whole, &context);
        let found = Selected::project_saving(features(moe, inputs), down(moe));
        let apart = largest(found - expected.reshape([tokens, hidden]));
        assert!(apart < 1e-5, "{apart}");
    }
}

#[test]
fn lost_halves_are_found_again_and_what_is_right_stays() {
    let config = config(true);
    let teacher = model(&config, 3);
    let mut errors = Vec::new();
    let text = [rows(1), rows(2)];
    let student = damaged(teacher.clone());
    let found = refit(&teacher, student, &text, 1e-6, |layer| errors.push(layer));
    let layers: Vec<usize> = errors.iter().map(|it| it.layer).collect();
    assert_eq!(layers, [1, 2], "the first layer is dense");
    for RefitLayer { before, after, .. } in errors {
        assert!(after < 0.01 * before && before > 1e-4, "{before} {after}");
    }
    // other text than that which was solved on
    let other = sequences(&rows(3));
    let states = |model: &Model| model.trace(&other).output.states;
    let apart = |other: &Model| largest(states(&teacher) - states(other));
    let (lost, left) = (apart(&damaged(teacher.clone())), apart(&found));
    assert!(left < 0.1 * lost, "{left} {lost}");
    let same = refit(&teacher, teacher.clone(), &text, 1e-6, |_| {});
    assert!(apart(&same) < 1e-4, "{}", apart(&same));
}

#[test]
fn an_error_is_the_mean_of_the_tokens_relative_errors() {
    let config = config(false);
    let teacher = model(&config, 3);
    let student = damaged(teacher.clone());
    let text = [rows(1), rows(2)];
    // before the first layer with experts nothing is refitted
    let states = |model: &Model| -> Vec<f64> {
        let hidden = text.iter().map(|rows| {
            let layer = model.trace(&sequences(rows)).layers.swap_remove(1);
            layer.hidden.into_data()
        });
        hidden
            .flat_map(|it| it.iter::<f64>().collect::<Vec<_>>())
            .collect()
    };
    let (own, taught) = (states(&student), states(&teacher));
    let width = config.hidden_size;
    let relative = own
        .chunks(width)
        .zip(taught.chunks(width))
        .map(|(own, taught)| {
            let apart = own.iter().zip(taught).map(|(a, b)| (a - b).powi(2));
            apart.sum::<f64>() / taught.iter().map(|it| it * it).sum::<f64>()
        });
    let expected = relative.sum::<f64>() / (own.len() / width) as f64;
    let mut errors = Vec::new();
    refit(&teacher, student, &text, 0.01, |layer| errors.push(layer));
    let found = errors[0].before;
    assert!(
        (found / expected - 1.0).abs() < 1e-3,
        "{found}, expected {expected}"
    );
}
