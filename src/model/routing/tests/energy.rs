//! Routing as minimization of the energy `H_e = -s_e - b_e`: choices, gates and gradients.

use burn::module::Param;
use burn::tensor::activation::softmax;

use super::*;
use crate::model::CausalLm;
use crate::model::feed_forward::FeedForward;
use crate::model::feed_forward::moe::Moe;
use crate::model::matrix::Matrix;
use crate::model::routing::balance::LossFactors;
use crate::model::routing::balance::losses::{load_loss, mutual_information_loss, z_loss};
use crate::model::routing::cosine::{CosineConfig, Similarity};

fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn chosen(routing: &Routing<B>) -> Vec<Vec<usize>> {
    let [_, k] = routing.indices.dims();
    let indices: Vec<i64> = routing.indices.clone().into_data().iter().collect();
    let token = |token: &[i64]| token.iter().map(|&slot| slot as usize).collect();
    indices.chunks(k).map(token).collect()
}

impl Frozen {
    fn with_bias(mut self, seed: u64) -> Self {
        let bias = self.router.e_score_correction_bias.val();
        let [slots] = bias.dims();
        let data = normal(&mut ChaCha8Rng::seed_from_u64(seed), [1, slots]);
        let drawn = Tensor::<B, 2>::from_data(data, &bias.device()).reshape([slots]);
        self.set_bias(drawn.mul_scalar(0.2));
        self
    }

    fn set_bias(&mut self, bias: Tensor<B, 1>) {
        self.router.e_score_correction_bias = self
            .router
            .e_score_correction_bias
            .clone()
            .map(|_| bias.detach().set_require_grad(false));
    }

    fn set_gate(&mut self, gate: Tensor<B, 2>) {
        self.router.gate.weight =
            Matrix::Dense(Param::from_tensor(gate.detach()).set_require_grad(true));
    }

    fn gate(&self) -> Tensor<B, 2> {
        self.router.gate.weight.val()
    }
}

/// `sum_e q_e H_e - T S(q)` at temperature 1.
fn free_energy(shares: &[f64], energies: &[f64]) -> f64 {
    let of_slot = |(&q, &h): (&f64, &f64)| if q > 0.0 { q * h + q * q.ln() } else { 0.0 };
    shares.iter().zip(energies).map(of_slot).sum()
}

#[test]
fn softmax_affinities_have_the_least_free_energy() {
    let config = RouterConfig {
        scoring_func: ScoringFunc::Softmax,
        ..RouterConfig::default()
    };
    let frozen = Frozen::new(8, 16, 2, config);
    let routing = frozen.route(frozen.tokens.clone(), None);
    let (logits, affinities) = (values(routing.logits), values(routing.affinities));
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (logits, shares) in logits.chunks(16).zip(affinities.chunks(16)) {
        let energies: Vec<f64> = logits.iter().map(|logit| -logit).collect();
        let least = free_energy(shares, &energies);
        let partition: f64 = logits.iter().map(|logit| logit.exp()).sum();
        assert!((least + partition.ln()).abs() < 1e-5, "{least}");
        for _ in 0..1250 {
            let weights: Vec<f64> = (0..16)
                .map(|_| {
                    let draw: f64 = StandardNormal.sample(&mut rng);
                    (2.0 * draw).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            let other: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
            assert!(free_energy(&other, &energies) >= least - 1e-5);
        }
    }
}

/// All sets of `k` slots with indices of at least `from`.
fn subsets(from: usize, slots: usize, k: usize) -> Vec<Vec<usize>> {
    if k == 0 {
        return vec![Vec::new()];
    }
    let with = |first: usize| {
        subsets(first + 1, slots, k - 1)
            .into_iter()
            .map(move |rest| [vec![first], rest].concat())
    };
    (from..slots).flat_map(with).collect()
}

#[test]
fn the_chosen_slots_are_the_set_of_least_energy() {
    let config = RouterConfig {
        null_experts: 2,
        ..with_null(Rule::Sign)
    };
    let frozen = Frozen::new(64, 8, 3, config).with_bias(5);
    let routing = frozen.route(frozen.tokens.clone(), None);
    let (affinities, bias) = (values(routing.affinities.clone()), frozen.bias());
    let all = subsets(0, 10, 3);
    assert_eq!(all.len(), 120);
    let mut with_null = 0;
    for (mut chosen, affinities) in chosen(&routing).into_iter().zip(affinities.chunks(10)) {
        let energy = |set: &Vec<usize>| -> f64 {
            let of_slot = |&slot: &usize| -affinities[slot] - f64::from(bias[slot]);
            set.iter().map(of_slot).sum()
        };
        let least = all
            .iter()
            .min_by(|a, b| energy(a).total_cmp(&energy(b)))
            .unwrap();
        chosen.sort_unstable();
        assert_eq!(&chosen, least);
        with_null += usize::from(chosen.iter().any(|&slot| slot >= 8));
    }
    assert!(with_null > 0, "some token chose a null expert");
}

#[test]
fn gates_are_made_of_affinities_whatever_the_bias() {
    let frozen = Frozen::new(64, 16, 2, RouterConfig::default());
    let plain = chosen(&frozen.route(frozen.tokens.clone(), None));
    let frozen = frozen.with_bias(6);
    let routing = frozen.route(frozen.tokens.clone(), None);
    let biased = chosen(&routing);
    assert!(plain != biased, "the bias changed a choice");
    let (affinities, weights) = (values(routing.affinities), values(routing.weights));
    for ((slots, affinities), gates) in biased
        .iter()
        .zip(affinities.chunks(16))
        .zip(weights.chunks(2))
    {
        let sum: f64 = slots.iter().map(|&slot| affinities[slot]).sum();
        for (&slot, gate) in slots.iter().zip(gates) {
            assert!((gate - affinities[slot] / sum).abs() < 1e-6);
        }
    }
}

/// The first layer of a model in which every layer has experts.
fn layer(config: &ModelConfig) -> Moe<B> {
    let model = CausalLm::<B>::init(config, 4, &Default::default());
    match model
        .layers
        .into_iter()
        .next()
        .map(|layer| layer.feed_forward)
    {
        Some(FeedForward::Moe(moe)) => moe,
        _ => panic!("the first layer routes"),
    }
}

#[test]
fn renumbered_experts_are_chosen_alike_and_give_the_same_output() {
    let config = model(6, 2, with_null(Rule::Sign));
    let moe = layer(&config);
    let order: Vec<i64> = vec![3, 0, 5, 1, 4, 2];
    let slots: Vec<i64> = order.iter().copied().chain(6..10).collect();
    let device = Default::default();
    let index = |order: &[i64]| Tensor::<B, 1, Int>::from_data(TensorData::from(order), &device);
    let bias = Tensor::<B, 1>::from_floats(
        [0.1, -0.1, 0.05, 0.0, 0.2, -0.2, 0.0, 0.1, 0.0, 0.0],
        &device,
    );
    let with_bias = |mut moe: Moe<B>, bias: Tensor<B, 1>| {
        moe.router.e_score_correction_bias = moe
            .router
            .e_score_correction_bias
            .map(|_| bias.set_require_grad(false));
        moe
    };
    let reorder = |weights: &Matrix<B, 3>| {
        Matrix::Dense(Param::from_tensor(
            weights.val().select(0, index(&order)).detach(),
        ))
    };
    let mut other = with_bias(moe.clone(), bias.clone().select(0, index(&slots)));
    let gate = moe.router.gate.weight.val().select(1, index(&slots));
    other.router.gate.weight = Matrix::Dense(Param::from_tensor(gate.detach()));
    other.experts.gate_proj = reorder(&moe.experts.gate_proj);
    other.experts.up_proj = reorder(&moe.experts.up_proj);
    other.experts.down_proj = reorder(&moe.experts.down_proj);
    let moe = with_bias(moe, bias);

    let tokens = normal(&mut ChaCha8Rng::seed_from_u64(8), [40, HIDDEN]);
    let tokens = Tensor::<B, 2>::from_data(tokens, &device);
    let [routing, renumbered] =
        [&moe, &other].map(|moe| moe.router.route(tokens.clone(), &Surroundings::default()));
    let renamed = chosen(&renumbered).into_iter().map(|token| {
        let name = |slot: usize| slots[slot] as usize;
        token.into_iter().map(name).collect::<Vec<_>>()
    });
    assert_eq!(renamed.collect::<Vec<_>>(), chosen(&routing));
    let one = values(moe.experts.forward(tokens.clone(), &routing));
    let two = values(other.experts.forward(tokens, &renumbered));
    assert!(one.iter().any(|value| value.abs() > 1e-3));
    for (one, two) in one.into_iter().zip(two) {
        assert!((one - two).abs() < 1e-6, "{one}, {two}");
    }
}

/// `sum g_k c_k` with a fixed `c` per token and slot, and the chosen sets.
fn probe(frozen: &Frozen) -> (Tensor<B, 1>, Vec<Vec<usize>>) {
    let routing = frozen.route(frozen.tokens.clone(), None);
    let factors = normal(&mut ChaCha8Rng::seed_from_u64(9), routing.logits.dims());
    let factors = Tensor::<B, 2>::from_data(factors, &routing.weights.device());
    let factors = factors.gather(1, routing.indices.clone());
    let mut sets = chosen(&routing);
    sets.iter_mut().for_each(|set| set.sort_unstable());
    ((routing.weights * factors).sum(), sets)
}

#[test]
fn gradients_of_the_centroids_are_those_of_finite_differences() {
    let cosine = RouterConfig {
        similarity: Similarity::Cosine(CosineConfig {
            projection_size: HIDDEN,
        }),
        ..RouterConfig::default()
    };
    for config in [RouterConfig::default(), with_null(Rule::Sign), cosine] {
        let mut frozen = Frozen::new(24, 8, 2, config);
        let gate = frozen.gate();
        let (loss, choice) = probe(&frozen);
        let gradient = gate.grad(&loss.backward()).expect("the gate learns");
        let gradient = Tensor::<B, 2>::from_inner(gradient);
        // along the gradient, the difference is the squared norm of the gradient
        let norm = values(gradient.clone().powi_scalar(2).sum())[0].sqrt();
        let step = 2e-3;
        let mut at = |sign: f64| {
            frozen.set_gate(gate.clone() + gradient.clone().mul_scalar(sign * step / norm));
            let (loss, moved) = probe(&frozen);
            assert_eq!(moved, choice, "the choice stays");
            values(loss)[0]
        };
        let difference = (at(1.0) - at(-1.0)) / (2.0 * step);
        assert!(
            (difference / norm - 1.0).abs() < 1e-2,
            "{difference}, {norm}"
        );
    }
}

/// With normalization, the gate of a single expert is one for every affinity.
#[test]
fn a_single_expert_teaches_its_router_by_its_gate_unless_that_is_normalized() {
    let norm = |norm_topk_prob: bool| {
        let config = RouterConfig {
            norm_topk_prob,
            ..RouterConfig::default()
        };
        let frozen = Frozen::new(24, 8, 1, config);
        let (loss, _) = probe(&frozen);
        let gradient = frozen
            .gate()
            .grad(&loss.backward())
            .expect("the gate is used");
        gradient.powi_scalar(2).sum().into_scalar()
    };
    assert!(norm(false) > 1e-3, "{}", norm(false));
    assert!(norm(true) < 1e-9, "{}", norm(true));
}

#[test]
fn by_cosine_a_token_s_length_has_no_say_and_the_scale_is_learned_up_to_a_hundred() {
    let config = RouterConfig {
        similarity: Similarity::Cosine(CosineConfig { projection_size: 6 }),
        ..RouterConfig::default()
    };
    let described = model(8, 2, config.clone());
    let built = CausalLm::<B>::init(&described, 1, &Default::default());
    let counted = burn::module::Module::num_params(&built) as u64;
    assert_eq!(
        counted,
        described.num_params() + 8,
        "and the bias of the router"
    );

    let mut frozen = Frozen::new(24, 8, 2, config);
    let logits = |frozen: &Frozen, factor: f64| {
        values(
            frozen
                .route(frozen.tokens.clone().mul_scalar(factor), None)
                .logits,
        )
    };
    let plain = logits(&frozen, 1.0);
    assert!(plain.iter().all(|logit| logit.abs() <= 2.0 + 1e-5));
    for (one, three) in plain.iter().zip(logits(&frozen, 3.0)) {
        assert!((one - three).abs() < 1e-5, "{one}, {three}");
    }

    let (loss, _) = probe(&frozen);
    let gradients = loss.backward();
    let cosine = frozen.router.cosine.as_ref().unwrap();
    let scale = cosine
        .log_scale
        .val()
        .grad(&gradients)
        .expect("the scale learns");
    assert!(scale.into_scalar() != 0.0);
    assert!(cosine.projection.weight.val().grad(&gradients).is_some());

    let cosine = frozen.router.cosine.as_mut().unwrap();
    cosine.log_scale = cosine
        .log_scale
        .clone()
        .map(|_| Tensor::from_floats([50.0], &Default::default()));
    for (small, large) in plain.iter().zip(logits(&frozen, 1.0)) {
        assert!((large - small * 50.0).abs() < 1e-2, "{small}, {large}");
    }
}

/// Routing of tokens with the given logits, each to its best expert.
fn routing(logits: Vec<[f64; 4]>) -> Routing<B> {
    let device = Default::default();
    let tokens = logits.len();
    let logits = logits
        .concat()
        .into_iter()
        .map(|logit| logit as f32)
        .collect();
    let logits = Tensor::<B, 2>::from_data(TensorData::new::<f32, _>(logits, [tokens, 4]), &device);
    Routing {
        weights: Tensor::ones([tokens, 1], &device),
        indices: logits.clone().argmax(1),
        affinities: softmax(logits.clone(), 1),
        scores: logits.clone(),
        logits,
        margins: None,
        experts: 4,
        loss_factors: LossFactors::default(),
        growth: None,
        codon_scores: None,
    }
}

fn eye(height: f64) -> Vec<[f64; 4]> {
    let row = |hot: usize| std::array::from_fn(|slot| if slot == hot { height } else { 0.0 });
    (0..4).map(row).collect()
}

#[test]
fn losses_of_a_router_are_least_where_choices_are_sharp_and_even() {
    let device = Default::default();
    let all = || Tensor::<B, 1>::ones([4], &device);
    let load = |rows| values(load_loss(&routing(rows), all().unsqueeze()))[0];
    assert!((load(eye(3.0)) - 1.0).abs() < 1e-6, "{}", load(eye(3.0)));
    let one_expert = vec![[3.0, 0.0, 0.0, 0.0]; 4];
    let share = 3f64.exp() / (3f64.exp() + 3.0);
    assert!((load(one_expert.clone()) - 4.0 * share).abs() < 1e-5);

    let information = |rows| values(mutual_information_loss(&routing(rows), all()))[0];
    let sharp_and_even = information(eye(30.0));
    assert!(
        (sharp_and_even + 4.0 * 4f64.ln()).abs() < 1e-4,
        "{sharp_and_even}"
    );
    assert!(
        information(one_expert).abs() < 1e-5,
        "all tokens alike tell nothing"
    );

    let squares = |counted| values(z_loss(&routing(eye(3.0)), counted))[0];
    let square = (3f64.exp() + 3.0).ln().powi(2);
    assert!((squares(all()) - 4.0 * square).abs() < 1e-4);
    let half = Tensor::from_floats([1.0, 0.0, 1.0, 0.0], &device);
    assert!(
        (squares(half) - 2.0 * square).abs() < 1e-4,
        "others do not count"
    );
}
