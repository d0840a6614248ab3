//! The whole model, with losses and gradients.

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::interop::{Outgoing, OutgoingOptions, TensorSource};
use darkhorse_genesis::model::cache::CacheConfig;
use darkhorse_genesis::model::mixer::gla::UpdateRule;
use darkhorse_genesis::model::weights::InMemory;
use darkhorse_genesis::model::{CausalLm, ModelConfig, Phase, Sequences, Ttt, weights};

use crate::fixture::{Fixture, read, values};

type B = Selected;
pub(crate) type Differentiated = Autodiff<Selected>;

/// Mean negative log-likelihood of the targets, except those that are -100.
pub(crate) fn loss<B: Ops>(fixture: &Fixture, logits: Tensor<B, 3>) -> Tensor<B, 1> {
    let [batch, seq, vocab] = logits.dims();
    let (targets, _) = fixture.integers("targets");
    let counted: Vec<f32> = targets.iter().map(|&it| f32::from(it != -100)).collect();
    let count: f32 = counted.iter().sum();
    let targets: Vec<i64> = targets.into_iter().map(|it| it.max(0)).collect();
    let rows = batch * seq;
    let device = logits.device();
    let losses = B::cross_entropy(
        logits.reshape([rows, vocab]),
        Tensor::from_data(TensorData::new(targets, [rows]), &device),
    );
    let counted = Tensor::from_data(TensorData::new(counted, [rows]), &device);
    (losses * counted).sum().div_scalar(count)
}

fn logits<B: Ops>(model: &CausalLm<B>, fixture: &Fixture) -> Tensor<B, 3> {
    model.forward(&Sequences::plain(fixture.ids("input_ids")))
}

#[test]
fn hidden_states_and_scoring_with_test_time_training() {
    let fixture = read();
    let model = fixture.model::<B>().with_ttt(Ttt::On);
    let trace = model.trace(&Sequences::plain(fixture.ids("input_ids")));
    let last = trace.layers.last().map(|layer| layer.hidden.clone());
    for (at, layer) in trace.layers.into_iter().enumerate() {
        fixture.compare_tensor(&format!("hidden/block{at}"), layer.hidden);
    }
    let last = last.expect("there are layers");
    let adapted = model.adapt(last.clone(), Phase::Inference);
    fixture.compare_tensor("hidden/pre_ln_f", adapted);
    let logits = model.logits(trace.output.states);
    fixture.compare_tensor("eval_ttt/loss", loss(&fixture, logits.clone()));
    fixture.compare_tensor("eval_ttt/logits", logits);
    let metacognition = model.metacognition.as_ref().expect("the model has it");
    let found = metacognition.find(last);
    fixture.compare_tensor("eval_ttt/confidence_mean", found.confidence.mean());
    fixture.compare_tensor("eval_ttt/surprise_mean", found.surprise.mean());
}

#[test]
fn the_blend_looks_at_the_whole_batch() {
    let fixture = read();
    let model = fixture.model::<B>().with_ttt(Ttt::On);
    let ids = fixture.ids::<B>("input_ids");
    let alone = Sequences::plain(ids.clone().narrow(0, 0, 1));
    fixture.compare_tensor("eval_ttt_row0/logits", model.forward(&alone));
    let prefix = Sequences::plain(ids.narrow(1, 0, 40));
    fixture.compare_tensor("eval_ttt_prefix40/logits", model.forward(&prefix));
}

#[test]
fn scoring_without_test_time_training() {
    let fixture = read();
    let model = fixture.model::<B>();
    let found = logits(&model, &fixture);
    fixture.compare_tensor("eval_nottt/loss", loss(&fixture, found.clone()));
    fixture.compare_tensor("eval_nottt/logits", found);
    let mut cache = model.empty_cache(&CacheConfig::default());
    let states = model
        .extend_one(&Sequences::plain(fixture.ids("input_ids")), &mut cache)
        .states;
    let last = model.logits(states.narrow(1, 69, 1));
    fixture.compare_tensor("eval_cached_prefill/last_logits", last);
}

#[test]
fn dense_feed_forwards_and_the_chunk_level_delta_are_options() {
    let fixture = read();
    let dense = ModelConfig {
        selective: None,
        ..fixture.config().clone()
    };
    let model: CausalLm<B> = fixture.model_of(&dense);
    fixture.compare_tensor("eval_nottt_dense/logits", logits(&model, &fixture));

    let mut delta = fixture.config().clone();
    let linear = delta.mixer.gla.as_mut().expect("the model has it");
    linear.rule = UpdateRule::ChunkDelta { chunk: 64 };
    let model: CausalLm<B> = fixture.model_of(&delta);
    let model = model.with_ttt(Ttt::On);
    fixture.compare_tensor("eval_ttt_deltaenv/logits", logits(&model, &fixture));
}

struct Gradients<'a, B: AutodiffBackend> {
    grads: &'a B::Gradients,
    found: Vec<(ParamId, Vec<usize>, Vec<f32>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found
                .push((param.id, grad.dims().to_vec(), values(grad)));
        }
    }
}

/// Parameters by the package's names, transposed as in its files.
pub(crate) fn by_their_names(
    fixture: &Fixture,
    found: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
) -> std::collections::BTreeMap<String, Vec<f32>> {
    let found = found.into_iter();
    let found = found.map(|(ours, shape, values)| (ours, TensorData::new(values, shape)));
    let found = InMemory::new("found", found);
    let config = &fixture.checkpoint.config;
    let theirs = Outgoing::new(&found, config, OutgoingOptions::default());
    let theirs = theirs.expect("every parameter has a name");
    let names = theirs.names().into_iter();
    names
        .filter(|name| theirs.info(name).is_some())
        .map(|name| {
            let tensor = theirs.tensor(&name).expect("it was found");
            let values = tensor.bytes.as_chunks().0.iter();
            let values = values.map(|&it| f32::from_le_bytes(it)).collect();
            (name, values)
        })
        .collect()
}

fn compare_gradients(
    fixture: &Fixture,
    model: &CausalLm<Differentiated>,
    loss: Tensor<Differentiated, 1>,
    prefix: &str,
) {
    let grads = loss.backward();
    let mut visitor = Gradients::<Differentiated> {
        grads: &grads,
        found: Vec::new(),
    };
    model.visit(&mut visitor);
    let names = weights::param_names(model);
    let found = visitor.found.into_iter();
    let found = found.map(|(id, shape, values)| (names[&id].clone(), shape, values));
    let found = by_their_names(fixture, found);
    let wanted = fixture.names_under(prefix);
    assert!(wanted.len() > 5);
    for name in wanted {
        let mut grad = found[&name].clone();
        if name == "metacognition.ttt.W0" {
            // if the package's gradient is diagonal, only the diagonal is compared
            let (expected, _) = fixture.floats(&format!("{prefix}{name}"));
            let off = |at: usize| !at.is_multiple_of(49);
            let is_diagonal = expected
                .iter()
                .enumerate()
                .all(|(at, it)| !off(at) || *it == 0.0);
            for at in (0..grad.len()).filter(|at| is_diagonal && off(*at)) {
                grad[at] = 0.0;
            }
        }
        fixture.compare(&format!("{prefix}{name}"), &grad);
    }
}

#[test]
fn training_with_its_gradients() {
    let fixture = read();
    let model = fixture.model::<Differentiated>();
    let found = logits(&model, &fixture);
    fixture.compare_tensor("train/logits", found.clone());
    let loss = loss(&fixture, found);
    fixture.compare_tensor("train/loss", loss.clone());
    compare_gradients(&fixture, &model, loss, "grad_train/");
}

#[test]
fn gradients_of_scoring_with_test_time_training() {
    let fixture = read();
    let model = fixture.model::<Differentiated>();
    let model = model.in_phase(Phase::Inference).with_ttt(Ttt::On);
    let loss = loss(&fixture, logits(&model, &fixture));
    compare_gradients(&fixture, &model, loss, "grad_eval/");
}

#[test]
fn phases_follow_the_backend_unless_told() {
    let device = Default::default();
    assert_eq!(Phase::of::<B>(&device), Phase::Inference);
    assert_eq!(Phase::of::<Differentiated>(&device), Phase::Training);
    let fixture = read();
    let model = fixture.model::<B>().in_phase(Phase::Training);
    fixture.compare_tensor("train/logits", logits(&model, &fixture));
}
