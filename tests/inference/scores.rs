//! Log-probabilities of an engine's tokens, bounds on the memory of its caches, and counts of its experts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use darkhorse_backends::select::Selected;
use darkhorse_genesis::inference::{
    CacheMemory, Continuation, Engine, EngineConfig, Event, Finish, GenerationError, Limits,
    Recording, Request, RequestId, Scoring, Speculation, TokenScore, likelihoods,
};
use darkhorse_genesis::model::dtype::Dtype;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig};

use crate::support::{recurrent_config, small_config};

type B = Selected;

fn config(shared_prefix_tokens: usize) -> EngineConfig {
    EngineConfig {
        max_sequences: 4,
        prefill_chunk: 16,
        prefill_tokens: 24,
        shared_prefix_tokens,
        ..EngineConfig::default()
    }
}

/// Scores of a request: of its prompt, of its tokens, and of the id that ended it.
#[derive(Debug, Default)]
struct Scores {
    prompt: Vec<TokenScore>,
    tokens: Vec<(u32, Option<TokenScore>)>,
    stop: Option<TokenScore>,
}

fn run(engine: &mut Engine<'_, B>) -> BTreeMap<RequestId, Scores> {
    let mut all = BTreeMap::<RequestId, Scores>::new();
    while !engine.is_idle() {
        for event in engine.step() {
            match event {
                Event::Prompt { request, scores } => {
                    let own = all.entry(request).or_default();
                    assert!(own.prompt.is_empty() && own.tokens.is_empty());
                    own.prompt = scores;
                }
                Event::Token { request, id, score } => {
                    all.entry(request).or_default().tokens.push((id, score));
                }
                Event::Finished { request, stop, .. } => {
                    all.entry(request).or_default().stop = stop;
                }
                _ => {}
            }
        }
    }
    all
}

fn sum_of(model: &CausalLm<B>, limits: Limits, ids: &[u32], first: usize) -> f64 {
    let request = Continuation {
        context: ids[..first].to_vec(),
        continuation: ids[first..].to_vec(),
    };
    let found = likelihoods(model, limits, &[request], |_| ControlFlow::Continue(()));
    found.expect("it is in range").expect("it was not stopped")[0].log_likelihood
}

#[test]
fn scores_of_prompts_and_tokens_are_their_likelihoods_beside_other_requests() {
    for model_config in [
        small_config(DomainMode::Off),
        recurrent_config(DomainMode::Off),
    ] {
        let model = CausalLm::<B>::init(&model_config, 7, &Default::default());
        let limits = Limits::of(&model_config);
        let mut engine = Engine::new(&model, limits, config(1024));
        let prompts: Vec<Vec<u32>> = [1usize, 2, 15, 16, 17, 33, 50, 50]
            .iter()
            .map(|&len| (0..len as u32).map(|at| (at * 37 + 5) % 97).collect())
            .collect();
        let mut ids = Vec::new();
        for (number, prompt) in prompts.iter().enumerate() {
            let scoring = Some(Scoring {
                top: number % 3,
                prompt: number != 3,
            });
            let request = Request {
                scoring,
                // only models with modules that draft
                speculation: (number % 2 == 1).then(|| Speculation::always(2)),
                ..Request::greedy(prompt.clone(), number)
            };
            ids.push(engine.submit(request).unwrap());
            // one that is not scored
            engine.submit(Request::greedy(vec![3, 4, 5], 3)).unwrap();
        }
        let all = run(&mut engine);
        for (number, (id, prompt)) in ids.iter().zip(&prompts).enumerate() {
            let found = &all[id];
            assert_eq!(found.tokens.len(), number);
            let read = if number == 3 { 0 } else { prompt.len() - 1 };
            assert_eq!(found.prompt.len(), read);
            let of_prompt = found.prompt.iter().zip(&prompt[1..]);
            assert!(of_prompt.clone().all(|(score, id)| score.id == *id));
            let sum: f64 = of_prompt.map(|(score, _)| score.log_probability).sum();
            if read > 0 {
                let expected = sum_of(&model, limits, prompt, 1);
                assert!((sum - expected).abs() < 1e-3, "{number}: {sum} {expected}");
            }
            let tokens = found.tokens.iter().map(|(id, score)| {
                let score = score.as_ref().unwrap();
                assert_eq!(score.id, *id);
                assert_eq!(score.top.len(), number % 3);
                if let Some((likeliest, log_probability)) = score.top.first() {
                    assert_eq!((likeliest, *log_probability), (id, score.log_probability));
                }
                score.log_probability
            });
            let sum: f64 = tokens.sum();
            let chosen = found.tokens.iter().map(|(id, _)| *id);
            let whole: Vec<u32> = prompt.iter().copied().chain(chosen).collect();
            if number > 0 {
                let expected = sum_of(&model, limits, &whole, prompt.len());
                assert!((sum - expected).abs() < 1e-3, "{number}: {sum} {expected}");
            }
        }
    }
}

#[test]
fn the_id_that_ends_a_text_is_scored_and_not_given() {
    let model_config = small_config(DomainMode::Off);
    let model = CausalLm::<B>::init(&model_config, 7, &Default::default());
    let scored = |stop_ids: Vec<u32>| {
        let mut engine = Engine::new(&model, Limits::of(&model_config), config(0));
        let scoring = Some(Scoring {
            top: 0,
            prompt: false,
        });
        let request = Request {
            scoring,
            stop_ids,
            ..Request::greedy(vec![1, 2, 3], 6)
        };
        let id = engine.submit(request).unwrap();
        run(&mut engine).remove(&id).unwrap()
    };
    let free = scored(Vec::new());
    assert_eq!(free.stop, None);
    let last = free.tokens[5].0;
    let at = free.tokens.iter().position(|(id, _)| *id == last).unwrap();
    let stopped = scored(vec![last]);
    assert_eq!(stopped.tokens, free.tokens[..at]);
    assert_eq!(stopped.stop, free.tokens[at].1);
}

fn memory(model: &ModelConfig, sequences: u64) -> CacheMemory {
    let new = |bytes| CacheMemory::new(bytes, model, 8, Dtype::F32, Dtype::F32);
    new(sequences * new(0).of_sequence(24, false))
}

#[test]
fn sequences_start_when_their_largest_caches_fit_together_and_in_order() {
    for model_config in [
        small_config(DomainMode::Off),
        recurrent_config(DomainMode::Off),
    ] {
        let model = CausalLm::<B>::init(&model_config, 7, &Default::default());
        let mut how = config(0);
        how.cache.page_len = 8;
        let bound = memory(&model_config, 2);
        how.memory = Some(bound);
        let mut engine = Engine::new(&model, Limits::of(&model_config), how);
        let mut ids = Vec::new();
        for _ in 0..5 {
            // 17 to 24 positions take three pages
            let request = Request::greedy((0..12).collect(), 9);
            ids.push(engine.submit(request).unwrap());
        }
        let (mut started, mut most) = (Vec::new(), 0);
        while !engine.is_idle() {
            for event in engine.step() {
                match event {
                    Event::Started { request, .. } => started.push(request),
                    Event::Finished { why, .. } => assert_eq!(why, Finish::Length),
                    _ => {}
                }
            }
            assert!(engine.cache_bytes() as u64 <= bound.limit_bytes);
            most = most.max(engine.load()[0]);
        }
        assert_eq!((started, most), (ids, 2));
        let bytes = bound.of_sequence(80, false) - 1;
        how.memory = Some(CacheMemory::new(
            bytes,
            &model_config,
            8,
            Dtype::F32,
            Dtype::F32,
        ));
        let mut engine = Engine::new(&model, Limits::of(&model_config), how);
        let large = Request::greedy((0..50).collect(), 30);
        let refused = engine.submit(large).unwrap_err();
        assert!(matches!(
            refused,
            GenerationError::NoMemory { tokens: 80, .. }
        ));
    }
}

#[test]
fn an_engine_counts_every_choice_of_the_tokens_that_it_keeps() {
    let model_config = small_config(DomainMode::Off);
    let model = CausalLm::<B>::init(&model_config, 7, &Default::default());
    let how = EngineConfig {
        routes: Recording::On,
        ..config(0)
    };
    let mut engine = Engine::new(&model, Limits::of(&model_config), how);
    for len in [1, 20, 40] {
        let request = Request {
            speculation: Some(Speculation::always(2)),
            routes: Recording::Whole,
            ..Request::greedy((0..len).collect(), 12)
        };
        engine.submit(request).unwrap();
    }
    let mut logged = 0;
    while !engine.is_idle() {
        for event in engine.step() {
            if let Event::Finished { routes, .. } = event {
                logged += routes.unwrap().tokens() as u64;
            }
        }
    }
    let traffic = engine.traffic();
    assert_eq!(traffic.tokens, logged);
    assert_eq!(traffic.layers.len(), 2);
    for layer in &traffic.layers {
        assert_eq!(layer.counts.experts.iter().sum::<u64>(), 2 * logged);
        assert!(layer.distinct_total >= traffic.passes);
        assert!(layer.distinct_total <= 20 * traffic.passes);
    }
}
