//! One case, run several times.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::inference::{Engine, EngineConfig, Event, Limits, PREFILL_CHUNK, Request};
use darkhorse_backends::awake;
use indicatif::ProgressBar;

use crate::cli::args::CacheArgs;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) prompt: usize,
    pub(super) new: usize,
    pub(super) batch: usize,
}

/// What a run took.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Until every request had its first token.
    pub(super) prefill: Duration,
    /// From then on.
    pub(super) decode: Duration,
    /// Tokens generated, of all requests.
    pub(super) generated: usize,
    /// Those generated after every request had its first.
    pub(super) decoded: usize,
    /// Bytes of all caches before the last pass.
    pub(super) cache_bytes: usize,
    /// Ids of the first request.
    pub(super) ids: Vec<u32>,
}

/// The runs that count.
pub(super) fn runs(
    loaded: &Loaded,
    case: Case,
    cache: CacheArgs,
    count: usize,
    bar: &ProgressBar,
) -> Result<Vec<Run>, Failure> {
    let counted = || {
        let run = run(loaded, case, cache, bar);
        bar.inc(1);
        run
    };
    awake(|| {
        counted()?;
        (0..count).map(|_| counted()).collect()
    })
}

/// One run.
pub(super) fn run(
    loaded: &Loaded,
    case: Case,
    cache: CacheArgs,
    bar: &ProgressBar,
) -> Result<Run, Failure> {
    let model = &loaded.experiment.model;
    let config = EngineConfig {
        max_sequences: case.batch,
        prefill_chunk: PREFILL_CHUNK,
        prefill_tokens: PREFILL_CHUNK,
        shared_prefix_tokens: 0,
        cache: cache.config(),
    };
    let mut engine = Engine::new(&loaded.model, Limits::of(model), config);
    let ids = model.vocab_size as u64 - 2;
    let mut first = None;
    for number in 0..case.batch as u64 {
        let id = |i| (2 + (7919 * i as u64 + 13 + 101 * number) % ids) as u32;
        let prompt = (0..case.prompt).map(id).collect();
        let request = engine
            .submit(Request::greedy(prompt, case.new))
            .or_input()?;
        first.get_or_insert(request);
    }
    let begin = Instant::now();
    let (mut prefill, mut cache_bytes) = (None, 0);
    let (mut started, mut ids, mut generated) = (BTreeSet::new(), Vec::new(), 0);
    while !engine.is_idle() {
        cache_bytes = cache_bytes.max(engine.cache_bytes());
        bar.tick();
        for event in engine.step() {
            if let Event::Token { request, id } = event {
                generated += 1;
                started.insert(request);
                if Some(request) == first {
                    ids.push(id);
                }
            }
        }
        if prefill.is_none() && started.len() == case.batch {
            prefill = Some((begin.elapsed(), generated));
        }
    }
    let total = begin.elapsed();
    let (prefill, before) = prefill.expect("every request got a token");
    Ok(Run {
        decode: total - prefill,
        generated,
        decoded: generated - before,
        prefill,
        cache_bytes,
        ids,
    })
}
