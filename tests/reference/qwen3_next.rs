//! Results equal those of transformers for Qwen3-Next and its gated delta rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Attended, LinearAttention, LinearAttentionOptions, UpdateRule, reference,
};
use darkhorse_backends::select::Selected;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::interop::{ForeignModel, Outgoing, OutgoingOptions, TensorSource};
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::weights::InMemory;
use darkhorse_genesis::model::{CausalLm, Sequences, weights};
use safetensors::tensor::SafeTensors;

type B = Autodiff<Selected>;

/// A tolerance, widened on backends that sum in another order.
fn wider(tolerance: f32) -> f32 {
    tolerance * if cfg!(feature = "flex") { 1.0 } else { 10.0 }
}

struct Numbers(Vec<u8>);

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

impl Numbers {
    fn of(name: &str) -> Self {
        Self(fs::read(folder(name).join("fixture.safetensors")).expect("it is there"))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("it is a safetensors file")
    }

    fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect(name);
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| f32::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    fn integers(&self, name: &str) -> (Vec<i64>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect(name);
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| i64::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    fn tensor<B: Backend, const D: usize>(&self, name: &str) -> Tensor<B, D> {
        let (values, shape) = self.floats(name);
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    fn compare(&self, name: &str, found: &[f32], tolerance: f32) {
        self.compare_first(1.0, name, found, tolerance);
    }

    /// Compares the first share of the rows.
    fn compare_first(&self, share: f64, name: &str, found: &[f32], tolerance: f32) {
        let (expected, _) = self.floats(name);
        assert_eq!(found.len(), expected.len(), "length of {name}");
        let tolerance = wider(tolerance);
        let kept = (share * found.len() as f64).round() as usize;
        let (found, expected) = (&found[..kept], &expected[..kept]);
        let off = found.iter().zip(expected).map(|(l, r)| (l - r).abs());
        let worst = off.fold(0.0, |worst, it| if it <= worst { worst } else { it });
        assert!(
            worst <= tolerance,
            "{name} is off by {worst:e}, allowed {tolerance:e}"
        );
    }

    fn compare_relative(&self, name: &str, found: &[f32], tolerance: f32) {
        let (expected, _) = self.floats(name);
        let largest = expected.iter().fold(0.0f32, |max, it| max.max(it.abs()));
        self.compare(name, found, tolerance * largest + 1e-6);
    }
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Queries or keys of length one, with one head per state.
fn placed(heads: Tensor<B, 4>, all: usize) -> Tensor<B, 4> {
    let [batch, seq, count, dim] = heads.dims();
    let square = heads.clone().square().sum_dim(3);
    (heads / square.add_scalar(1e-6).sqrt())
        .unsqueeze_dim::<5>(3)
        .expand([batch, seq, count, all / count, dim])
        .reshape([batch, seq, all, dim])
}

#[test]
fn the_gated_delta_rule_with_its_gradients() {
    let numbers = Numbers::of("gated_delta_rule");
    type Form = fn(LinearAttention<B>, LinearAttentionOptions, &AttentionMask<B>) -> Attended<B>;
    let forms: [Form; 2] = [B::linear_attention, reference::linear_attention];
    for form in forms {
        for begin in ["zero", "init"] {
            let leaf = |name: &str| numbers.tensor::<B, 4>(name).require_grad();
            let gate = |name: &str| numbers.tensor::<B, 3>(name).require_grad();
            let (query, key, value) = (leaf("q"), leaf("k"), leaf("v"));
            let (log_decay, write, state) = (gate("g"), gate("beta"), leaf("initial_state"));
            let input = LinearAttention {
                query: placed(query.clone(), 4),
                key: placed(key.clone(), 4),
                value: value.clone(),
                log_decay: log_decay.clone(),
                write: write.clone(),
                state: match begin {
                    "zero" => state.zeros_like(),
                    _ => state.clone(),
                },
            };
            let options = LinearAttentionOptions {
                rule: UpdateRule::Delta,
                scale: 8f64.powf(-0.5),
            };
            let attended = form(input, options, &AttentionMask::Causal);
            numbers.compare(
                &format!("{begin}.out"),
                &values(attended.output.clone()),
                2e-5,
            );
            let state_name = format!("{begin}.final_state");
            numbers.compare(&state_name, &values(attended.state.clone()), 2e-5);
            if begin == "zero" {
                continue;
            }
            let cotangents = (
                numbers.tensor::<B, 4>("cot_out"),
                numbers.tensor::<B, 4>("cot_state"),
            );
            let total =
                (attended.output * cotangents.0).sum() + (attended.state * cotangents.1).sum();
            let grads = total.backward();
            let heads = [
                ("q", query),
                ("k", key),
                ("v", value),
                ("initial_state", state),
            ];
            for (name, leaf) in heads {
                let grad = values(leaf.grad(&grads).expect(name));
                numbers.compare_relative(&format!("grad.{name}"), &grad, 1e-3);
            }
            for (name, leaf) in [("g", log_decay), ("beta", write)] {
                let grad = values(leaf.grad(&grads).expect(name));
                numbers.compare_relative(&format!("grad.{name}"), &grad, 1e-3);
            }
        }
    }
}

fn open() -> (ForeignModel, Numbers) {
    let checkpoint = ForeignModel::open(&folder("qwen3_next"));
    let checkpoint = checkpoint.expect("the fixture is a model");
    (checkpoint, Numbers::of("qwen3_next"))
}

fn load<B: Backend>(checkpoint: &ForeignModel) -> CausalLm<B> {
    let fresh = CausalLm::init(&checkpoint.config.model, 0, &Default::default());
    weights::load(fresh, checkpoint.weights.as_ref()).expect("it fits")
}

fn ids<B: Backend>(numbers: &Numbers, name: &str) -> Tensor<B, 2, Int> {
    let (values, shape) = numbers.integers(name);
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

#[test]
fn the_forward_pass() {
    let (checkpoint, numbers) = open();
    let model: CausalLm<Selected> = load(&checkpoint);
    let trace = model.trace(&Sequences::plain(ids(&numbers, "input_ids")));
    numbers.compare("hidden.embed", &values(trace.embedded), 2e-4);
    // compares the tokens before the first one for which rounding changed the choice of experts
    let mut share = 1.0f64;
    for (at, layer) in trace.layers.into_iter().enumerate() {
        let routing = layer.routing.expect("every layer has experts");
        let chosen: Vec<i64> = routing.indices.into_data().iter::<i64>().collect();
        let mut pairs: Vec<(i64, f32)> = chosen.into_iter().zip(values(routing.weights)).collect();
        pairs
            .chunks_mut(3)
            .for_each(|token| token.sort_by_key(|pair| pair.0));
        let (indices, gates): (Vec<i64>, Vec<f32>) = pairs.into_iter().unzip();
        let (expected, _) = numbers.integers(&format!("router.{at}.topk_idx"));
        let tokens = expected.len() / 3;
        let mut pairs = indices.chunks(3).zip(expected.chunks(3));
        if let Some(flip) = pairs.position(|(found, expected)| found != expected) {
            // the smallest margin of a choice in the fixture is 1.2e-4
            assert!(wider(5e-5) > 1.2e-4, "layer {at}: token {flip}");
            println!("layer {at}: rounding chose another expert for token {flip} of {tokens}");
            share = share.min(flip as f64 / tokens as f64);
        }
        let gates_name = format!("router.{at}.topk_weight");
        numbers.compare_first(share, &gates_name, &gates, 5e-5);
        let hidden_name = format!("hidden.layer.{at}");
        numbers.compare_first(share, &hidden_name, &values(layer.hidden), 2e-4);
    }
    let states = trace.output.states;
    numbers.compare_first(share, "hidden.final_norm", &values(states.clone()), 2e-4);
    let logits = values(model.logits(states));
    numbers.compare_first(share, "logits", &logits, 5e-4);
}

#[test]
fn greedy_tokens() {
    let (checkpoint, numbers) = open();
    let model: CausalLm<Selected> = load(&checkpoint);
    let (prompt, _) = numbers.integers("gen.prompt_ids");
    let (expected, _) = numbers.integers("gen.output_ids");
    let prompt: Vec<u32> = prompt.into_iter().map(|id| id as u32).collect();
    let mut generation = Generation::new(&model, Limits::of(&checkpoint.config.model), None);
    let sampler = Sampler::new(SamplingConfig::greedy()).expect("the settings are valid");
    generation.read(&prompt).expect("it is short");
    let mut logits = Vec::new();
    for _ in prompt.len()..expected.len() {
        let next = generation.next_token(&sampler);
        next.expect("the logits are finite").expect("it is short");
        logits.extend_from_slice(generation.logits());
    }
    let found: Vec<i64> = generation.past().iter().map(|&id| i64::from(id)).collect();
    assert_eq!(found, expected);
    numbers.compare("gen.logits", &logits, 5e-4);
}

struct Gradients<'a> {
    grads: &'a <B as AutodiffBackend>::Gradients,
    found: BTreeMap<ParamId, (Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor<B> for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            let shape = grad.dims().to_vec();
            self.found.insert(param.id, (shape, values(grad)));
        }
    }
}

#[test]
fn gradients_of_the_loss() {
    let (checkpoint, numbers) = open();
    let model: CausalLm<B> = load(&checkpoint);
    let ids = ids::<B>(&numbers, "input_ids");
    let logits = model.forward(&Sequences::plain(ids.clone()));
    let read = logits.narrow(1, 0, 79).reshape([79, 128]);
    let loss = B::cross_entropy(read, ids.narrow(1, 1, 79).reshape([79])).mean();
    numbers.compare("loss", &values(loss.clone()), 1e-4);
    let grads = loss.backward();
    let mut visitor = Gradients {
        grads: &grads,
        found: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    let names = weights::param_names(&model);
    // gradients in the layout of the file's fused tensors
    let named = visitor.found.into_iter().map(|(id, (shape, values))| {
        let data = TensorData::new(values, shape);
        (names[&id].clone(), data)
    });
    let found = InMemory::new("gradients", named);
    let theirs = Outgoing::new(&found, &checkpoint.config, OutgoingOptions::default());
    let theirs = theirs.expect("every parameter has a place");
    let mut compared = 0;
    for name in numbers.tensors().names() {
        let Some(parameter) = name.strip_prefix("grad.") else {
            continue;
        };
        let tensor = theirs.tensor(parameter).expect(parameter);
        let found = tensor.bytes.as_chunks().0.iter();
        let found: Vec<f32> = found.map(|&it| f32::from_le_bytes(it)).collect();
        numbers.compare_relative(name, &found, 2e-3);
        compared += 1;
    }
    assert!(compared > 60, "only {compared}");
}

#[test]
fn the_plan_is_that_of_the_file_and_counts_are_those_of_the_module() {
    let (checkpoint, _) = open();
    let kinds: Vec<_> = checkpoint
        .config
        .model
        .plan()
        .iter()
        .map(|it| it.mixer)
        .collect();
    let (linear, full) = (MixerKind::Gla, MixerKind::GatedAttention);
    assert_eq!(kinds, [linear, linear, full, linear]);
    let built: CausalLm<Selected> = load(&checkpoint);
    // four routers have 8 biases each beside the weights
    let counted = checkpoint.config.model.num_params() + 4 * 8;
    assert_eq!(built.num_params() as u64, counted);
}
