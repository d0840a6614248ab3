//! Sample texts of a trained model, for the report.

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

/// Largest number of tokens in a sample.
const TOKENS: usize = 64;
/// Tokens of the first document that start a sample if the tokenizer puts nothing before a text.
const BEGUN: usize = 4;
/// Number of samples if the training text has a single domain, or none.
const FEWEST: usize = 3;

/// Generates one text for every domain tag of the training text, and one without a domain if some documents had none.
/// Each has its own seed, so that the texts differ even if the model ignores the domain. Stops with the texts so far
/// once `patience` has passed.
///
/// # Errors
///
/// Sampling settings that the model refuses.
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
            // if the tokenizer puts nothing before a text, a sample needs a beginning
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
