//! Balancing rules on routers whose affinities do not change.

mod energy;
mod together;

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use super::balance::quantile::{self, Margins, QuantileRule};
use super::balance::{Goal, Rule, max_violation};
use super::domain::DomainConfig;
use super::stats::{self, LoadCounts, Observed};
use super::{Route, Router, RouterConfig, Routing, ScoringFunc, Surroundings};
use crate::domain::{Domain, TAGS};
use crate::model::ModelConfig;
use crate::model::init::Initializers;

/// A backend with autodiff, since margins are observed only there.
type B = Autodiff<Selected>;

const HIDDEN: usize = 16;

/// Tokens and a router that prefers some experts: affinities differ by up to a tenth.
struct Frozen {
    router: Router<B>,
    tokens: Tensor<B, 2>,
    k: usize,
}

fn normal(rng: &mut ChaCha8Rng, shape: [usize; 2]) -> TensorData {
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| StandardNormal.sample(rng))
        .collect();
    TensorData::new(values, shape)
}

fn model(experts: usize, k: usize, router: RouterConfig) -> ModelConfig {
    let router = serde_json::to_value(router).unwrap();
    let json = serde_json::json!({
        "vocab_size": 11, "hidden_size": HIDDEN, "num_hidden_layers": 1, "intermediate_size": 5,
        "max_position_embeddings": 16, "layer_types": ["gqa"], "first_k_dense_replace": 0, "domains": {"mode": "off"},
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
        "rope": {}, "initializer_range": 0.25,
        "moe": {"n_routed_experts": experts, "num_experts_per_tok": k, "moe_intermediate_size": 5, "router": router}
    });
    serde_json::from_value(json).unwrap()
}

impl Frozen {
    fn new(tokens: usize, experts: usize, k: usize, config: RouterConfig) -> Self {
        let model = model(experts, k, config);
        model.validate().unwrap();
        let device = Default::default();
        let router = Router::init(&Initializers::new(&model, 3), &device);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        // all tokens share a direction, so that some experts are preferred by all
        let shared = Tensor::<B, 2>::from_data(normal(&mut rng, [1, HIDDEN]), &device);
        let own = Tensor::from_data(normal(&mut rng, [tokens, HIDDEN]), &device);
        Self {
            router,
            tokens: own + shared,
            k,
        }
    }

    fn route(&self, tokens: Tensor<B, 2>, tag: Option<&Tensor<B, 2>>) -> Routing<B> {
        let prior = tag.cloned();
        let around = Surroundings {
            prior,
            ..Surroundings::default()
        };
        self.router.route(tokens, &around)
    }

    fn observe(&self, tokens: Tensor<B, 2>, prior: Option<&Tensor<B, 2>>, tag: usize) -> Observed {
        let [count, _] = tokens.dims();
        let device = tokens.device();
        let routing = self.route(tokens, prior);
        let tags = Tensor::<B, 1, Int>::full([count], tag as i64, &device);
        let slots = routing.slots();
        let values = |tensor: Tensor<B, 2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let counts = stats::count(routing.indices, tags, slots);
        let margins = routing
            .margins
            .map(|margins| quantile::histogram(margins, Tensor::ones([count], &device)));
        Observed {
            counts: LoadCounts::from_values(&values(counts), routing.experts),
            margins: margins.map(|margins| Margins::from_values(&values(margins))),
            growth: None,
        }
    }

    /// Runs one optimizer step; returns the MaxVio before it, and the number of experts per token.
    fn step(&mut self, speed: f64) -> (f64, f64) {
        let seen = self.observe(self.tokens.clone(), None, 0);
        let load = seen.counts.total();
        let visits = load.iter().sum::<u64>() as f64;
        let target = vec![visits / load.len() as f64; load.len()];
        let violation = max_violation(&load, &target);
        let goal = Goal { target, speed };
        self.router = self.router.clone().balance(&seen, &goal);
        let [tokens, _] = self.tokens.dims();
        assert_eq!(
            load.iter().chain(&seen.counts.null()).sum::<u64>(),
            (tokens * self.k) as u64,
            "every choice is counted once"
        );
        (violation, visits / tokens as f64)
    }

    fn bias(&self) -> Vec<f32> {
        let bias = self.router.e_score_correction_bias.val().into_data();
        bias.iter::<f32>().collect()
    }
}

fn quantile_rule(smoothing: f64) -> RouterConfig {
    RouterConfig {
        balance: Rule::Quantile(QuantileRule { smoothing }),
        ..RouterConfig::default()
    }
}

#[test]
fn quantiles_even_out_fixed_affinities_within_six_updates() {
    for (tokens, experts, k) in [(4096, 16, 2), (2048, 20, 2), (4096, 64, 4)] {
        let mut frozen = Frozen::new(tokens, experts, k, quantile_rule(0.0));
        let violations: Vec<f64> = (0..7).map(|_| frozen.step(1.0).0).collect();
        assert!(violations[0] > 1.0, "{violations:?}");
        assert!(violations[1] < violations[0] / 2.0, "{violations:?}");
        assert!(violations[6] < 0.15, "{violations:?}");
    }
}

#[test]
fn a_histogram_of_margins_finds_the_quantile_of_the_sorted_margins() {
    let mut frozen = Frozen::new(2048, 20, 2, quantile_rule(0.0));
    for _ in 0..3 {
        let routing = frozen.route(frozen.tokens.clone(), None);
        let margins: Vec<f32> = routing.margins.unwrap().into_data().iter().collect();
        let mut exact: Vec<f64> = (0..20)
            .map(|slot| {
                let mut of_slot: Vec<f32> =
                    margins.iter().skip(slot).step_by(20).copied().collect();
                of_slot.sort_by(f32::total_cmp);
                f64::from(of_slot[2048 * 2 / 20])
            })
            .collect();
        let mean = exact.iter().sum::<f64>() / 20.0;
        exact.iter_mut().for_each(|bias| *bias -= mean);
        frozen.step(1.0);
        for (slot, (bias, exact)) in frozen.bias().into_iter().zip(exact).enumerate() {
            assert!(
                (f64::from(bias) - exact).abs() < 0.004,
                "{slot}: {bias}, {exact}"
            );
        }
    }
}

#[test]
fn micro_batches_of_a_step_count_as_one_batch() {
    let frozen = Frozen::new(512, 16, 2, quantile_rule(0.0));
    let whole = frozen.observe(frozen.tokens.clone(), None, 0);
    let half = |from| frozen.observe(frozen.tokens.clone().narrow(0, from, 256), None, 0);
    let mut sum = half(0);
    sum.merge(&half(256));
    assert_eq!(sum, whole);
}

#[test]
fn smoothing_keeps_a_share_of_the_old_bias() {
    let after = |smoothing| {
        let mut frozen = Frozen::new(1024, 16, 2, quantile_rule(smoothing));
        frozen.step(1.0);
        frozen.bias()
    };
    for (half, whole) in after(0.5).into_iter().zip(after(0.0)) {
        assert!((half - whole / 2.0).abs() < 1e-6, "{half}, {whole}");
    }
}

#[test]
fn quantiles_meet_the_targets_of_a_domain() {
    let mut frozen = Frozen::new(4096, 20, 2, quantile_rule(0.0));
    let domains = DomainConfig::default();
    let tag = Domain::Code.index();
    let device = Default::default();
    let table = TensorData::new(domains.prior(20), [TAGS, 20]);
    let row = Tensor::<B, 2>::from_data(table, &device).narrow(0, tag, 1);
    let prior = row.expand([4096, 20]);
    let mut violation = f64::INFINITY;
    for _ in 0..8 {
        let seen = frozen.observe(frozen.tokens.clone(), Some(&prior), tag);
        let target = super::balance::target_load(&seen.counts, &domains);
        violation = max_violation(&seen.counts.total(), &target);
        let goal = Goal { target, speed: 1.0 };
        frozen.router = frozen.router.clone().balance(&seen, &goal);
    }
    assert!(violation < 0.15, "{violation}");
}

fn with_null(balance: Rule) -> RouterConfig {
    RouterConfig {
        null_experts: 4,
        k_target: Some(1.5),
        balance,
        ..RouterConfig::default()
    }
}

#[test]
fn signs_hold_loads_and_the_number_of_visited_experts() {
    let mut frozen = Frozen::new(2048, 16, 2, with_null(Rule::Sign));
    let (before, _) = frozen.step(5e-3);
    assert!(before > 0.9, "{before}");
    let last = (0..300).map(|_| frozen.step(2e-3)).last().unwrap();
    assert!(last.0 < 0.15, "MaxVio {}", last.0);
    assert!((last.1 - 1.5).abs() < 0.015, "{} experts a token", last.1);
}

#[test]
fn quantiles_hold_loads_and_the_number_of_visited_experts() {
    let rule = Rule::Quantile(QuantileRule::default());
    let mut frozen = Frozen::new(4096, 16, 2, with_null(rule));
    let last = (0..12).map(|_| frozen.step(1.0)).last().unwrap();
    assert!(last.0 < 0.15, "MaxVio {}", last.0);
    assert!((last.1 - 1.5).abs() < 0.03, "{} experts a token", last.1);
}

#[test]
fn a_resting_bias_moves_by_no_rule() {
    for rule in [Rule::Sign, Rule::Quantile(QuantileRule::default())] {
        let mut frozen = Frozen::new(256, 16, 2, with_null(rule));
        frozen.step(0.0);
        assert!(frozen.bias().iter().all(|&bias| bias == 0.0));
    }
}

/// The bias changes the choice; for a fixed choice it does not change the gates.
#[test]
fn a_constant_in_the_bias_changes_nothing() {
    let mut frozen = Frozen::new(64, 16, 2, RouterConfig::default());
    let before = frozen.route(frozen.tokens.clone(), None);
    frozen.router.e_score_correction_bias = frozen
        .router
        .e_score_correction_bias
        .map(|bias| (bias + 0.25).detach().set_require_grad(false));
    let after = frozen.route(frozen.tokens.clone(), None);
    assert_eq!(before.indices.into_data(), after.indices.into_data());
    assert_eq!(before.weights.into_data(), after.weights.into_data());
}

#[test]
fn null_experts_take_part_in_the_gates() {
    let frozen = Frozen::new(64, 16, 2, with_null(Rule::Sign));
    let routing = frozen.route(frozen.tokens.clone(), None);
    assert_eq!((routing.experts, routing.slots()), (16, 20));
    let sums = routing.weights.sum_dim(1).into_data();
    assert!(sums.iter::<f32>().all(|sum| (sum - 1.0).abs() < 1e-5));
}

#[test]
fn parts_of_a_router_that_do_not_go_together_are_refused() {
    let message = |config: RouterConfig| model(16, 2, config).validate().unwrap_err().to_string();
    let no_target = RouterConfig {
        null_experts: 4,
        ..RouterConfig::default()
    };
    assert_eq!(
        message(no_target),
        "`moe.router.null_experts` needs `k_target`, the mean number of experts that a token is to visit"
    );
    let no_null = RouterConfig {
        k_target: Some(1.5),
        ..RouterConfig::default()
    };
    assert_eq!(
        message(no_null),
        "`moe.router.k_target` needs `null_experts` above 0"
    );
    let too_many = RouterConfig {
        k_target: Some(2.5),
        ..with_null(Rule::Sign)
    };
    assert_eq!(
        message(too_many),
        "`moe.router.k_target` is 2.5, expected a number above 0 and below `num_experts_per_tok` = 2"
    );
    let auxiliary = with_null(Rule::Auxiliary(Default::default()));
    assert!(
        message(auxiliary)
            .starts_with("`moe.router.null_experts` needs `balance` sign or quantile")
    );
}
