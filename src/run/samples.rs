//! What a trained model writes, a text per domain.

use std::time::{Duration, Instant};

use darkhorse_backends::Ops;

use super::error::RunError;
use crate::config::Experiment;
use crate::data::Corpus;
use crate::domain::Domain;
use crate::inference::{Generation, Limits, Sampler, SamplingConfig};
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::telemetry::SampleRecord;
use crate::tokenizer::Tokenizer;

/// Tokens of a sample, at most.
const TOKENS: usize = 64;
/// Tokens of the first document that a sample begins with, where nothing else does.
const BEGUN: usize = 4;
/// Samples of a model that knows one domain only, or none.
const FEWEST: usize = 3;

/// Texts that `model` writes: one for every domain that it was told in training, and one without, if some text had
/// none, each from a seed of its own, so that they differ
/// also where the model does not heed the domain. After `patience` it ends with what it has.
///
/// # Errors
///
/// Sampling that the model does not take.
pub(super) fn samples<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    experiment: &Experiment,
    tokenizer: &Tokenizer,
    corpus: &Corpus,
    patience: Duration,
) -> Result<Vec<SampleRecord>, RunError> {
    let begin = Instant::now();
    let mut wanted: Vec<Option<Domain>> = corpus.tags().collect();
    if let [one] = wanted[..] {
        wanted = vec![one; FEWEST];
    }
    let limits = Limits::of(&experiment.model);
    let mut samples = Vec::new();
    for (seed, domain) in (experiment.training.seed..).zip(wanted) {
        let mut opening = tokenizer.opening(domain);
        let mut ids = Vec::new();
        if opening.is_empty() {
            // where nothing stands before a text, it has to be begun
            opening = corpus.document(0)?.tokens;
            opening.truncate(BEGUN);
            ids.clone_from(&opening);
        }
        if opening.is_empty() || begin.elapsed() >= patience {
            return Ok(samples);
        }
        let sampler = Sampler::new(SamplingConfig {
            seed,
            ..SamplingConfig::default()
        })?;
        let mut generation = Generation::new(model, limits, domain);
        generation.read(&opening)?;
        while ids.len() < TOKENS
            && begin.elapsed() < patience
            && let Some(id) = generation.next_token(&sampler)?
            && Some(id) != tokenizer.eos_id()
        {
            ids.push(id);
        }
        samples.push(SampleRecord {
            domain,
            seed,
            text: tokenizer.decode(&ids).trim().to_owned(),
        });
    }
    Ok(samples)
}
