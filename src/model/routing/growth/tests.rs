//! A division does not change the output of a model.

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use serde_json::json;

use super::{Change, Division, Inhibition};
use crate::domain::Domain;
use crate::model::{CausalLm, Hidden, ModelConfig, Sequences};

/// A backend with autodiff, since router inputs are returned only there.
type B = Autodiff<Selected>;

const EXPERTS: usize = 20;
const APART: Inhibition = Inhibition { hold: 4, fade: 4 };

/// Type of router.
#[derive(Debug, Clone, Copy)]
struct Kind {
    k: usize,
    shared: usize,
    null: usize,
    domains: &'static str,
    scoring: &'static str,
    normalized: bool,
    codons: &'static str,
}

const PLAIN: Kind = Kind {
    k: 2,
    shared: 0,
    null: 0,
    domains: "off",
    scoring: "sigmoid",
    normalized: true,
    codons: "off",
};

fn config(kind: Kind) -> ModelConfig {
    let mut router = json!({
        "scoring_func": kind.scoring, "norm_topk_prob": kind.normalized, "initial_experts": EXPERTS
    });
    if kind.null > 0 {
        router["null_experts"] = json!(kind.null);
        router["k_target"] = json!(kind.k as f64 * 0.75);
    }
    match kind.codons {
        "soft" => router["codons"] = json!({"length": 8, "mode": {"soft": {"cohesion": 0.5}}}),
        "hard" => router["codons"] = json!({"length": 8, "mode": {"hard": {"pool": 5}}}),
        _ => {}
    }
    let config = json!({
        "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "initializer_range": 0.4,
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "rope": {}, "domains": {"mode": kind.domains},
        "moe": {
            "n_routed_experts": 2 * EXPERTS, "num_experts_per_tok": kind.k, "moe_intermediate_size": 8,
            "n_shared_experts": kind.shared, "router": router
        }
    });
    let config: ModelConfig = serde_json::from_value(config).unwrap();
    config.validate().unwrap();
    config
}

/// A model whose routers have nonzero biases, as after training.
fn model(kind: Kind) -> CausalLm<B> {
    let model = CausalLm::<B>::init(&config(kind), 5, &Default::default());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    model.map_routers(|_, mut router| {
        router.e_score_correction_bias = router.e_score_correction_bias.map(|bias| {
            let values: Vec<f32> = (0..bias.dims()[0])
                .map(|_| {
                    let value: f32 = StandardNormal.sample(&mut rng);
                    value * 0.05
                })
                .collect();
            let values = TensorData::new(values, bias.dims());
            Tensor::from_data(values, &bias.device()).set_require_grad(false)
        });
        router
    })
}

/// Rows of tokens of every domain.
fn text() -> Sequences<B> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let id = Uniform::new(0i64, 40).unwrap();
    let ids: Vec<i64> = (0..20 * 32).map(|_| id.sample(&mut rng)).collect();
    let tags = (0..20).flat_map(|row| [(row % Domain::COUNT) as i64; 32]);
    let device = Default::default();
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [20, 32]), &device);
    let tags = TensorData::new(tags.collect::<Vec<_>>(), [20 * 32]);
    Sequences {
        tags: Some(Tensor::from_data(tags, &device)),
        ..Sequences::plain(ids)
    }
}

/// Number of tokens that chose each slot, by layer.
fn loads(hidden: &Hidden<B>) -> Vec<Vec<usize>> {
    let of = |routing: &crate::model::routing::Routing<B>| {
        let mut loads = vec![0; routing.slots()];
        for slot in routing.indices.clone().into_data().iter::<i64>() {
            loads[slot as usize] += 1;
        }
        loads
    };
    hidden.routings.iter().map(of).collect()
}

/// A change that divides every expert in use, by the first coordinate of its tokens.
fn changes(hidden: &Hidden<B>) -> Vec<Change> {
    let of = |routing: &crate::model::routing::Routing<B>| {
        let states = routing
            .growth
            .as_ref()
            .and_then(|it| it.hidden.clone())
            .unwrap();
        let [_, width] = states.dims();
        let states: Vec<f32> = states.into_data().iter::<f32>().collect();
        let chosen: Vec<i64> = routing.indices.clone().into_data().iter::<i64>().collect();
        let k = routing.indices.dims()[1];
        let divisions = (0..EXPERTS).map(|parent| {
            let tokens = (0..states.len() / width)
                .filter(|token| chosen[token * k..][..k].contains(&(parent as i64)));
            let mut heights: Vec<f32> = tokens.map(|token| states[token * width]).collect();
            heights.sort_by(f32::total_cmp);
            let middle = heights.len() / 2;
            let offset = match heights.len() {
                0 | 1 => 0.0,
                _ => (heights[middle - 1] + heights[middle]) / 2.0,
            };
            let mut normal = vec![0.0; width];
            normal[0] = 1.0;
            Division {
                parent,
                child: EXPERTS + parent,
                normal,
                offset,
            }
        });
        Change {
            step: 10,
            divisions: divisions.collect(),
            inhibition: APART,
            ..Change::default()
        }
    };
    hidden.routings.iter().map(of).collect()
}

fn grown(model: CausalLm<B>, changes: &[Change]) -> CausalLm<B> {
    model.map_moe(|layer, moe| moe.grow(&changes[layer]))
}

/// The model at a later step without divisions.
fn at_step(model: CausalLm<B>, step: u64, inhibition: Inhibition) -> CausalLm<B> {
    let change = Change {
        step: step - 1,
        inhibition,
        ..Change::default()
    };
    model.map_moe(|_, moe| moe.grow(&change))
}

fn logits(model: &CausalLm<B>, text: &Sequences<B>) -> Tensor<B, 3> {
    model.forward(text)
}

fn largest_difference(one: Tensor<B, 3>, other: Tensor<B, 3>) -> f32 {
    (one - other).abs().max().into_scalar()
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for k in [1, 2, 4] {
        for (shared, null) in [(0, 0), (1, 0), (0, 4), (1, 4)] {
            let kind = Kind {
                k,
                shared,
                null,
                ..PLAIN
            };
            kinds.push(kind);
        }
        for (scoring, normalized) in [("softmax", true), ("softmax", false), ("sigmoid", false)] {
            kinds.push(Kind {
                k,
                scoring,
                normalized,
                ..PLAIN
            });
        }
        kinds.push(Kind {
            k,
            domains: "soft",
            ..PLAIN
        });
    }
    for (k, codons, scoring) in [
        (1, "soft", "sigmoid"),
        (2, "hard", "sigmoid"),
        (4, "hard", "softmax"),
        (4, "soft", "softmax"),
    ] {
        kinds.push(Kind {
            k,
            codons,
            scoring,
            ..PLAIN
        });
    }
    // the pool of every domain has four experts
    for k in [1, 2, 4] {
        kinds.push(Kind {
            k,
            domains: "hard",
            ..PLAIN
        });
    }
    kinds
}

#[test]
fn a_division_of_all_experts_leaves_the_logits_as_they_are() {
    let text = text();
    for kind in kinds() {
        let model = model(kind);
        let hidden = model.hidden(&text);
        let before = model.logits(hidden.states.clone());
        let changes = changes(&hidden);
        let after = logits(&grown(model, &changes), &text);
        let difference = largest_difference(before, after);
        assert!(difference <= 1e-5, "{difference} at {kind:?}");
    }
}

/// Without inhibition both copies are chosen and displace another expert.
#[test]
fn copies_that_do_not_inhibit_each_other_change_the_logits() {
    let text = text();
    for k in [2, 4] {
        let model = model(Kind { k, ..PLAIN });
        let hidden = model.hidden(&text);
        let before = model.logits(hidden.states.clone());
        let changes = changes(&hidden);
        let naive = at_step(grown(model, &changes), 11, Inhibition { hold: 0, fade: 0 });
        let difference = largest_difference(before, logits(&naive, &text));
        assert!(difference > 1e-2, "{difference} at k = {k}");
    }
}

#[test]
fn children_halve_the_load_of_their_parent() {
    let text = text();
    for k in [1, 2, 4] {
        let model = model(Kind { k, ..PLAIN });
        let hidden = model.hidden(&text);
        let before = loads(&hidden);
        let changes = changes(&hidden);
        let after = loads(&grown(model, &changes).hidden(&text));
        for (before, after) in before.iter().zip(&after) {
            for parent in 0..EXPERTS {
                let (elder, child) = (after[parent], after[EXPERTS + parent]);
                assert_eq!(before[parent], elder + child);
                let off = elder.abs_diff(child);
                // a token on the plane makes a difference of two
                assert!(
                    off <= 2 || off * 10 <= before[parent],
                    "{elder} and {child}"
                );
            }
        }
    }
}

#[test]
fn siblings_open_by_degrees() {
    let text = text();
    for (scoring, normalized, codons) in [
        ("sigmoid", true, "off"),
        ("sigmoid", true, "soft"),
        ("softmax", false, "off"),
    ] {
        let kind = Kind {
            scoring,
            normalized,
            codons,
            ..PLAIN
        };
        let model = model(kind);
        let hidden = model.hidden(&text);
        let before = model.logits(hidden.states.clone());
        let changes = changes(&hidden);
        let apart = Inhibition {
            hold: 4,
            fade: 1000,
        };
        let divided = grown(model, &changes);
        // on average, since a nearly tied choice may change
        let at = |step| {
            let later = at_step(divided.clone(), step, apart);
            let difference = before.clone() - logits(&later, &text);
            difference.abs().mean().into_scalar()
        };
        let (last, first, free) = (at(14), at(15), at(2000));
        assert!(last <= 1e-5, "the last step of holding apart: {last}");
        assert!(free > 0.05, "siblings are experts like any other: {free}");
        assert!(
            first <= free / 20.0,
            "the first step of opening: {first} of {free}"
        );
    }
}

/// With its bias of -2 no token chooses expert 7, so retiring it must not change the logits.
#[test]
fn an_expert_that_no_token_chose_goes_without_a_trace() {
    let text = text();
    let model = model(PLAIN).map_routers(|_, mut router| {
        router.e_score_correction_bias = router.e_score_correction_bias.map(|bias| {
            let mut values: Vec<f32> = bias.clone().into_data().iter::<f32>().collect();
            values[7] = -2.0;
            let values = TensorData::new(values, bias.dims());
            Tensor::from_data(values, &bias.device()).set_require_grad(false)
        });
        router
    });
    let before = logits(&model, &text);
    let change = Change {
        step: 10,
        retired: vec![7],
        inhibition: APART,
        ..Change::default()
    };
    let without = model.map_moe(|_, moe| moe.grow(&change));
    let difference = largest_difference(before, logits(&without, &text));
    assert!(difference <= 1e-5, "{difference}");
}
