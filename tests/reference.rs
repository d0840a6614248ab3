//! Results equal those of transformers and llama.cpp: logits, hidden states, router choices, losses, gradients and
//! greedy tokens of the models in `tests/fixtures`, within the fixtures' tolerances.
//!
//! On backends other than flex the tolerances are ten times as wide. Where a choice of experts is closer than that,
//! tokens with another choice, and later tokens that attend to them, are counted instead of compared.

mod golden;
#[path = "reference/qwen3_next.rs"]
mod qwen3_next;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::TAGS;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::interop::{Outgoing, OutgoingOptions};
use darkhorse_genesis::model::routing::Routing;
use darkhorse_genesis::model::routing::domain::DomainPrior;
use darkhorse_genesis::model::weights;
use darkhorse_genesis::model::{CausalLm, Sequences};
use golden::{Flips, Golden, Tolerances, gradients_equal, read};

type B = Autodiff<Selected>;

fn load<B: Backend>(golden: &Golden) -> CausalLm<B> {
    let model = CausalLm::init(&golden.model.config.model, 0, &Default::default());
    weights::load(model, golden.model.weights.as_ref()).expect("the fixture is whole")
}

fn ids<B: Backend>(golden: &Golden, name: &str) -> Tensor<B, 2, Int> {
    let (values, shape) = golden.integers(name);
    let shape: [usize; 2] = shape.try_into().expect("ids are a matrix");
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Mean negative log-likelihood of `ids` shifted by `ahead` positions.
fn loss<B: Ops>(logits: Tensor<B, 3>, ids: Tensor<B, 2, Int>, ahead: usize) -> Tensor<B, 1> {
    let [batch, seq, vocab] = logits.dims();
    let len = seq - ahead;
    let logits = logits.narrow(1, 0, len).reshape([batch * len, vocab]);
    let targets = ids.narrow(1, ahead, len).reshape([batch * len]);
    B::cross_entropy(logits, targets).mean()
}

fn forward_equals(name: &str) {
    let golden = read(name);
    let Tolerances {
        logits,
        hidden,
        gate,
        ..
    } = golden.tolerances;
    let model = load::<Selected>(&golden);
    let input = Sequences::plain(ids(&golden, "input_ids"));
    let trace = model.trace(&input);
    golden.compare("hidden.embed", &values(trace.embedded), hidden);
    let mut flips = Flips::none(input.ids.dims());
    for (at, layer) in trace.layers.into_iter().enumerate() {
        if let Some(routing) = &layer.routing {
            let [_, k] = routing.indices.dims();
            let (indices, weights) = sorted(routing);
            flips.note(&golden, at, &indices, k);
            let name = format!("router.{at}.topk_weight");
            golden.compare_before(&flips, &name, &weights, gate);
        }
        let name = format!("hidden.layer.{at}");
        golden.compare_before(&flips, &name, &values(layer.hidden), hidden);
    }
    let states = trace.output.states;
    golden.compare_before(&flips, "hidden.final_norm", &values(states.clone()), hidden);
    golden.compare_before(&flips, "logits", &values(model.logits(states)), logits);
    flips.report(&golden);
}

/// Experts in ascending order, as in the fixtures, with their weights.
fn sorted<B: Backend>(routing: &Routing<B>) -> (Vec<i64>, Vec<f32>) {
    let [_, k] = routing.indices.dims();
    let chosen: Vec<i64> = routing.indices.clone().into_data().iter::<i64>().collect();
    let weights = values(routing.weights.clone());
    let mut pairs: Vec<(i64, f32)> = chosen.into_iter().zip(weights).collect();
    pairs
        .chunks_mut(k)
        .for_each(|token| token.sort_by_key(|&(expert, _)| expert));
    pairs.into_iter().unzip()
}

/// Whether every token visits the fixture's experts, since gradients depend on all tokens.
fn none_flips<B: Ops>(golden: &Golden, model: &CausalLm<B>, input: &Sequences<B>) -> bool {
    let mut flips = Flips::none(input.ids.dims());
    if golden.may_flip() {
        for (at, layer) in model.trace(input).layers.into_iter().enumerate() {
            if let Some(routing) = &layer.routing {
                let [_, k] = routing.indices.dims();
                flips.note(golden, at, &sorted(routing).0, k);
            }
        }
    }
    flips.report(golden)
}

fn generation_equals(name: &str) {
    let golden = read(name);
    let model = load::<Selected>(&golden);
    let (prompt, _) = golden.integers("gen.prompt_ids");
    let (expected, _) = golden.integers("gen.output_ids");
    let prompt: Vec<u32> = prompt.iter().map(|&id| id as u32).collect();
    let mut generation = Generation::new(&model, Limits::of(&golden.model.config.model), None);
    let sampler = Sampler::new(SamplingConfig {
        temperature: 0.0,
        repetition_penalty: 1.0,
        ..Default::default()
    })
    .expect("the configuration is valid");
    generation.read(&prompt).expect("the prompt is short");
    let mut logits = Vec::new();
    for _ in prompt.len()..expected.len() {
        generation
            .next_token(&sampler)
            .expect("the logits are finite")
            .expect("the context is not full");
        logits.extend_from_slice(generation.logits());
    }
    let found: Vec<i64> = generation.past().iter().map(|&id| i64::from(id)).collect();
    assert_eq!(found, expected, "{name}: greedy tokens");
    golden.compare("gen.logits", &logits, golden.tolerances.logits);
}

fn training_equals(name: &str) {
    let golden = read(name);
    let model = load::<B>(&golden);
    let ids = ids::<B>(&golden, "input_ids");
    let input = Sequences::plain(ids.clone());
    if !none_flips(&golden, &model, &input) {
        return;
    }
    let hidden = model.hidden(&input);
    let main = loss(model.logits(hidden.states), ids.clone(), 1);
    golden.compare("loss", &values(main.clone()), 1e-4);
    gradients_equal(&golden, &model, main.clone(), "grad.");

    let depths = model.mtp.len();
    if depths == 0 {
        return;
    }
    // the first backward pass consumed its graph
    let mut states = model.hidden(&input).states;
    let main = loss(model.logits(states.clone()), ids.clone(), 1);
    let mut further = Vec::new();
    for depth in 0..depths {
        states = model.predict_further(depth, states, &input).states;
        let [_, seq, _] = states.dims();
        let ahead = depth + 1;
        let logits = model.logits(states.clone());
        let read = logits.clone().narrow(1, 0, seq - ahead);
        let tolerance = golden.tolerances.logits;
        golden.compare(&format!("mtp.{ahead}.logits"), &values(read), tolerance);
        let loss = loss(logits, ids.clone(), ahead + 1);
        golden.compare(&format!("mtp.{ahead}.loss"), &values(loss.clone()), 1e-4);
        further.push(loss);
    }
    let further = Tensor::cat(further, 0).sum();
    let total = main + further.mul_scalar(0.3 / depths as f64);
    golden.compare("mtp.total_loss", &values(total.clone()), 1e-4);
    gradients_equal(&golden, &model, total, "mtp.grad_total.");
}

macro_rules! fixtures {
    ($($name:ident),* $(,)?) => {
        mod forward {
            $(#[test]
            fn $name() {
                super::forward_equals(stringify!($name));
            })*
        }
        mod generation {
            $(#[test]
            fn $name() {
                super::generation_equals(stringify!($name));
            })*
        }
        mod training {
            $(#[test]
            fn $name() {
                super::training_equals(stringify!($name));
            })*
        }
    };
}

fixtures!(
    deepseek_v2,
    deepseek_v2_groups,
    deepseek_v3_allmoe_top1,
    deepseek_v3_domain,
    deepseek_v3_eps,
    deepseek_v3_halfrope,
    deepseek_v3_mtp,
    deepseek_v3_mtp2,
    deepseek_v3_noqlora,
    deepseek_v3_plain,
    deepseek_v3_stress,
    deepseek_v3_yarn,
    glm4_moe,
    llama_llama3rope,
    llama_tied,
    mistral,
    mistral_window,
    mixtral,
    olmoe,
    olmoe_clip,
    qwen2,
    qwen3,
    qwen3_moe,
    qwen3_moe_sparse,
);

#[test]
fn a_gguf_file_of_llama_cpp_gives_the_logits_of_its_source() {
    for source in ["deepseek_v3_plain", "deepseek_v3_yarn"] {
        let golden = read(source).with_model(&format!("gguf_{source}/model.gguf"));
        let model = load::<Selected>(&golden);
        let logits = model.forward(&Sequences::plain(ids(&golden, "input_ids")));
        golden.compare("logits", &values(logits), golden.tolerances.logits);
    }
}

/// Logits of the domain fixture with a prior for one domain, selected by a tag.
fn with_prior(golden: &Golden, prior: Vec<f32>) -> Vec<f32> {
    let experts = prior.len();
    let device = Default::default();
    let mut table = vec![0.0; TAGS * experts];
    table[2 * experts..3 * experts].copy_from_slice(&prior);
    let mut model = load::<Selected>(golden);
    model.domain_prior = Some(DomainPrior {
        table: Param::from_tensor(Tensor::from_data(
            TensorData::new(table, [TAGS, experts]),
            &device,
        )),
    });
    let mut input = Sequences::plain(ids(golden, "input_ids"));
    let [batch, seq] = input.ids.dims();
    input.tags = Some(Tensor::full([batch * seq], 2, &device));
    values(model.forward(&input))
}

/// Logits of the domain fixture with the prior folded into the routers' biases, as in an export for a domain.
fn with_folded(golden: &Golden, prior: Vec<f32>) -> Vec<f32> {
    let options = OutgoingOptions {
        prior: Some(prior),
        ..Default::default()
    };
    let source = golden.model.weights.as_ref();
    let config = &golden.model.config;
    let theirs = Outgoing::new(source, config, options).expect("everything has a place");
    let folded = darkhorse_genesis::interop::Incoming::new(theirs, "folded", config);
    let folded = folded.expect("nothing is missing");
    let fresh = CausalLm::<Selected>::init(&config.model, 0, &Default::default());
    let model = weights::load(fresh, &folded).expect("it fits");
    values(model.forward(&Sequences::plain(ids(golden, "input_ids"))))
}

#[test]
fn a_domain_is_a_prior_on_the_choice_and_may_be_folded_into_the_bias() {
    let golden = read("deepseek_v3_domain");
    let (soft, shape) = golden.floats("domain.prior");
    let (owner, _) = golden.integers("domain.expert_domain");
    let experts = shape[1];
    for domain in 0..shape[0] {
        let soft = soft[domain * experts..][..experts].to_vec();
        let hard = owner
            .iter()
            .map(|&of| if of == domain as i64 { 0.0 } else { -1000.0 });
        for (mode, prior) in [("soft", soft), ("hard", hard.collect())] {
            let name = format!("domain.{mode}.{domain}.logits");
            let tolerance = golden.tolerances.logits;
            golden.compare(&name, &with_prior(&golden, prior.clone()), tolerance);
            golden.compare(&name, &with_folded(&golden, prior), tolerance);
        }
    }
}

#[test]
fn valid_and_trained_forms_agree() {
    let golden = read("deepseek_v3_plain");
    let model = load::<B>(&golden).valid();
    let logits = model.forward(&Sequences::plain(ids(&golden, "input_ids")));
    golden.compare("logits", &values(logits), golden.tolerances.logits);
}
