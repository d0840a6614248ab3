//! A user-defined mixer and router in a model that trains and generates: `cargo run --example custom_mixer`.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::prelude::*;
use burn_train::TrainStep;
use darkhorse_backends::Ops;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::{Corpus, Document, Position, Stream, StreamConfig};
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::model::cache::{self, CacheConfig, Extension, Past};
use darkhorse_genesis::model::{CausalLm, Context, mixer::TokenMixer, routing};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::{AdamW, Trainee, batch::MicroBatch};

type B = Autodiff<Selected>;

/// Mean of all positions so far, scaled by a learned weight per channel.
#[derive(Module, Debug)]
struct RunningMean<B: Backend> {
    scale: Param<Tensor<B, 1>>,
}

/// Inputs of all positions so far, `[1, seq, hidden_size]`.
#[derive(Debug, Clone, Default)]
struct Seen<B: Backend>(Option<Tensor<B, 3>>);

impl<B: Backend> Past for Seen<B> {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |seen| seen.dims()[1])
    }

    fn earliest(&self) -> usize {
        0
    }

    fn truncate(&mut self, len: usize) {
        self.0 = self.0.take().map(|seen| seen.narrow(1, 0, len));
    }

    fn memory_bytes(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |seen| 4 * seen.shape().num_elements())
    }
}

impl<B: Ops> RunningMean<B> {
    fn mix(&self, hidden: Tensor<B, 3>, past: &mut Seen<B>) -> Tensor<B, 3> {
        let [_, new, _] = hidden.dims();
        let all = Tensor::cat(past.0.take().into_iter().chain([hidden]).collect(), 1);
        let [_, len, _] = all.dims();
        let count = Tensor::<B, 1, Int>::arange(1..len as i64 + 1, &all.device()).float();
        let mean = all.clone().cumsum(1) / count.reshape([1, len, 1]);
        past.0 = Some(all);
        mean.narrow(1, len - new, new) * self.scale.val().unsqueeze()
    }
}

impl<B: Ops> TokenMixer<B> for RunningMean<B> {
    type Cache = Seen<B>;

    fn forward(&self, hidden: Tensor<B, 3>, _: &Context<B>) -> Tensor<B, 3> {
        self.mix(hidden, &mut Seen(None))
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        _: &Context<B>,
        sequences: &mut [Extension<'_, Seen<B>>],
    ) -> Tensor<B, 3> {
        cache::one_by_one(hidden, sequences, |rows, _, past| self.mix(rows, past))
    }

    fn empty_cache(&self, _: &CacheConfig) -> Seen<B> {
        Seen(None)
    }
}

/// Sends every token to the first two experts, with learned weights.
#[derive(Module, Debug)]
struct FirstTwo<B: Backend> {
    weight: Param<Tensor<B, 2>>,
}

impl<B: Ops> routing::Route<B> for FirstTwo<B> {
    fn route(&self, hidden: Tensor<B, 2>, _: &routing::Surroundings<B>) -> routing::Routing<B> {
        let ([tokens, _], [_, experts]) = (hidden.dims(), self.weight.dims());
        let first = Tensor::<B, 1, Int>::arange(0..2, &hidden.device());
        let scores = self.weight.val().expand([tokens, experts]);
        let indices = first.unsqueeze::<2>().expand([tokens, 2]);
        routing::Routing {
            weights: scores.clone().gather(1, indices.clone()),
            indices,
            logits: scores.clone(),
            affinities: scores.clone(),
            scores,
            margins: None,
            experts,
            loss_factors: Default::default(),
            growth: None,
            codon_scores: None,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (device, tokenizer) = (default_device(), Tokenizer::bytes());
    let mut experiment = Experiment::preset("tiny")?;
    experiment.model.vocab_size = tokenizer.vocab_size();
    let (config, training) = (&experiment.model, &experiment.training);
    let scale = || Param::from_tensor(Tensor::ones([config.hidden_size], &device));
    let weight = || Param::from_tensor(Tensor::full([1, 20], 0.5, &device));
    let mixer = || RunningMean { scale: scale() };
    let router = || FirstTwo { weight: weight() };
    let model = CausalLm::<B, _, _>::init_with(config, 0, &device, |_, _| mixer(), |_| router());

    let text = "all work and no play makes a dull text ".repeat(40);
    let corpus = Corpus::in_memory([Ok(Document::from(text.as_str()))], &tokenizer)?;
    let rows = StreamConfig::new(4, 64, 0);
    let mut stream = Stream::new(Arc::new(corpus), rows, Position::default())?;
    let mut trainee = Trainee::new(model, training.clone(), config.domains.clone());
    let mut optimizer = AdamW::<B>::new(training);
    for step in 1..=5 {
        for batch in MicroBatch::of_step(step, vec![stream.next_batch()?], 1) {
            let output = trainee.step(batch);
            trainee = trainee.optimize(&mut optimizer, 3e-3, output.grads);
            println!("step {step}: {:.3?}", output.item.get().losses);
        }
    }
    let trained = trainee.model.valid();
    let mut generation = Generation::new(&trained, Limits::of(config), None);
    let sampler = Sampler::new(SamplingConfig::greedy())?;
    generation.read(&tokenizer.encode("all work ")?)?;
    let next = (0..16).filter_map(|_| generation.next_token(&sampler).transpose());
    let ids = next.collect::<Result<Vec<u32>, _>>()?;
    println!("all work {}", tokenizer.decode(&ids));
    Ok(())
}
