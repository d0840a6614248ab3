//! Cost of routing in a training step: `cargo bench --bench routers [-- EXPERTS K]` (64 and 4 by default).
//!
//! The model is `tiny` with EXPERTS experts, of which a token visits K. Routing is the router with its load counts.
//! Dispatch and combine are the time of the experts beyond that of one dense layer over equally many rows, which is
//! more than sorting and summing: small products are slower than a large one. All figures include gradients, in f32,
//! as medians of interleaved runs.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::optim::{GradientsParams, Optimizer};
use burn::tensor::{Distribution, Int, Tensor};
use darkhorse_backends::feed_forward::Gated;
use darkhorse_backends::select::Selected;
use darkhorse_backends::weight::Weight;
use darkhorse_backends::{Ops, awake};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::model::feed_forward::FeedForward;
use darkhorse_genesis::model::feed_forward::moe::Moe;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::routing::{Route, Surroundings, stats};
use darkhorse_genesis::model::{CausalLm, ModelConfig, Sequences};
use darkhorse_genesis::training::{AdamW, TrainingConfig};

type B = Autodiff<Selected>;

const ROWS: usize = 8;
const SEQ: usize = 256;
const TOKENS: usize = ROWS * SEQ;
const RUNS: usize = 15;

fn config(experts: usize, k: usize) -> ModelConfig {
    let mut model = Experiment::preset("tiny")
        .expect("there is such a preset")
        .model;
    model.domains.mode = DomainMode::Off;
    model.num_nextn_predict_layers = 0;
    let moe = model.moe.as_mut().expect("it is a mixture");
    moe.n_routed_experts = experts;
    moe.num_experts_per_tok = k;
    model.validate().expect("a model");
    model
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Default::default())
}

fn tokens(hidden: usize) -> Tensor<B, 2> {
    random([TOKENS, hidden]).require_grad()
}

/// Median times of several works run alternately, in milliseconds.
fn medians<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for run in 0..=RUNS {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            work();
            // the first run touches pages for the first time, and is not timed
            if run > 0 {
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[RUNS / 2]
    })
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let [experts, k] = numbers.try_into().unwrap_or([64, 4]);
    darkhorse_backends::memory::keep_freed();
    let config = config(experts, k);
    let hidden = config.hidden_size;
    let mut model = Some(CausalLm::<B>::init(&config, 0, &Default::default()));
    let moe = |model: &CausalLm<B>| -> Vec<Moe<B>> {
        let layers = model
            .layers
            .iter()
            .filter_map(|layer| match &layer.feed_forward {
                FeedForward::Moe(moe) => Some(moe.clone()),
                FeedForward::Dense(_) | FeedForward::Selective(_) => None,
            });
        layers.collect()
    };
    let routed = model.as_ref().map(moe).unwrap_or_default();
    let (layers, moe) = (routed.len(), &routed[0]);
    let routing = moe
        .router
        .route(random([TOKENS, hidden]), &Surroundings::default());

    let mut optimizer = AdamW::<B>::new(&TrainingConfig::default());
    let ids = |from: usize| {
        let ids = (from..from + TOKENS).map(|i| ((7919 * i + 13) % config.vocab_size) as i64);
        let ids = burn::tensor::TensorData::new(ids.collect(), [ROWS, SEQ]);
        Tensor::<B, 2, Int>::from_data(ids, &Default::default())
    };
    let mut step = || {
        let current = model.take().expect("a step leaves a model");
        let (optimizer, vocab) = (&mut optimizer, config.vocab_size);
        let (ids, targets) = (ids(0), ids(1).reshape([TOKENS]));
        model = Some(awake(move || {
            let logits = current.forward(&Sequences::plain(ids));
            let loss = B::cross_entropy(logits.reshape([TOKENS, vocab]), targets).mean();
            let grads = GradientsParams::from_grads(loss.backward(), &current);
            optimizer.step(1e-4, current, grads)
        }));
    };
    let mut route = || {
        let router = moe.router.clone();
        awake(move || {
            let found = router.route(tokens(hidden), &Surroundings::default());
            let tags = Tensor::<B, 1, Int>::zeros([TOKENS], &Default::default());
            stats::count(found.indices.clone(), tags, found.slots()).into_data();
            drop(found.weights.sum().backward());
        });
    };
    let mut visit = || {
        let (experts, routing) = (moe.experts.clone(), routing.clone());
        awake(move || drop(experts.forward(tokens(hidden), &routing).sum().backward()));
    };
    let one = |weights: Tensor<B, 3>| {
        Weight::Dense(
            weights
                .narrow(0, 0, 1)
                .squeeze_dim::<2>(0)
                .detach()
                .require_grad(),
        )
    };
    let dense = Gated {
        gate: one(moe.experts.gate_proj.val()),
        up: one(moe.experts.up_proj.val()),
        down: one(moe.experts.down_proj.val()),
    };
    let mut at_once = || {
        let dense = dense.clone();
        awake(move || {
            let rows = random::<2>([TOKENS * k, hidden]).require_grad();
            drop(B::feed_forward(rows, None, Some(dense)).sum().backward());
        });
    };
    let mut draw = || drop(tokens(hidden));
    let mut draw_rows = || drop(random::<2>([TOKENS * k, hidden]));
    let [step, route, visit, at_once, draw, draw_rows] = medians([
        &mut step,
        &mut route,
        &mut visit,
        &mut at_once,
        &mut draw,
        &mut draw_rows,
    ]);
    let (route, dispatch) = (route - draw, (visit - draw) - (at_once - draw_rows));
    println!(
        "{experts} experts, {k} a token, {TOKENS} tokens of {hidden}, {layers} layers that route\n\
         training step           {step:8.2} ms\n\
         routing, a layer        {route:8.2} ms\n\
         dispatch and combine    {dispatch:8.2} ms\n\
         of the step             {:8.1} %",
        100.0 * layers as f64 * (route + dispatch) / step
    );
}
