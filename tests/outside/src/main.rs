//! Uses the crate from outside of its workspace: a mixer and a router of its own, on a backend that the
//! crate has no kernels for.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::prelude::*;
use burn_train::TrainStep;
use burn_ndarray::NdArray;
use darkhorse_backends::Ops;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::{Corpus, Document, Position, Stream, StreamConfig};
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::model::{CausalLm, Context, mixer::TokenMixer, routing};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::{AdamW, Trainee, batch::MicroBatch};

type B = Autodiff<NdArray>;

/// The mean of everything so far, scaled by a learned weight per channel.
#[derive(Module, Debug)]
struct RunningMean<B: Backend> {
    scale: Param<Tensor<B, 1>>,
}

impl<B: Ops> TokenMixer<B> for RunningMean<B> {
    type Cache = Option<Tensor<B, 3>>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        self.extend(hidden, context, &mut None)
    }

    fn extend(&self, hidden: Tensor<B, 3>, _: &Context<B>, past: &mut Self::Cache) -> Tensor<B, 3> {
        let [_, new, _] = hidden.dims();
        let all = Tensor::cat(past.take().into_iter().chain([hidden]).collect(), 1);
        let [_, len, _] = all.dims();
        let count = Tensor::<B, 1, Int>::arange(1..len as i64 + 1, &all.device()).float();
        let mean = all.clone().cumsum(1) / count.reshape([1, len, 1]);
        *past = Some(all);
        mean.narrow(1, len - new, new) * self.scale.val().unsqueeze()
    }

    fn empty_cache(&self) -> Self::Cache {
        None
    }
}

/// Sends every token to the first two experts, with weights that are learned.
#[derive(Module, Debug)]
struct FirstTwo<B: Backend> {
    weight: Param<Tensor<B, 2>>,
}

impl<B: Ops> routing::Route<B> for FirstTwo<B> {
    fn route(&self, hidden: Tensor<B, 2>, _prior: Option<Tensor<B, 2>>) -> routing::Routing<B> {
        let ([tokens, _], [_, experts]) = (hidden.dims(), self.weight.dims());
        let first = Tensor::<B, 1, Int>::arange(0..2, &hidden.device());
        let scores = self.weight.val().expand([tokens, experts]);
        let indices = first.unsqueeze::<2>().expand([tokens, 2]);
        routing::Routing {
            weights: scores.clone().gather(1, indices.clone()),
            indices,
            scores,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (device, tokenizer) = (Default::default(), Tokenizer::bytes());
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
    let mut sampler = Sampler::new(SamplingConfig::greedy())?;
    generation.read(&tokenizer.encode("all work ")?)?;
    let next = (0..16).filter_map(|_| generation.next_token(&mut sampler));
    let ids: Vec<u32> = next.collect();
    println!("all work {}", tokenizer.decode(&ids));
    Ok(())
}
