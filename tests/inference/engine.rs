//! The output of a request does not depend on other requests.

use crate::support::{hybrid_config, recurrent_config, small_config};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{
    Engine, EngineConfig, Event, Finish, Limits, Recording, Request, RequestId, RouteLog,
    SamplingConfig, Speculation,
};
use darkhorse_genesis::model::cache::CacheConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, Cause, ModelConfig, NotANumber, Part};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

type B = Selected;

fn engine_config() -> EngineConfig {
    EngineConfig {
        max_sequences: 6,
        prefill_chunk: 16,
        prefill_tokens: 40,
        cache: CacheConfig {
            page_len: 8,
            format: None,
        },
        shared_prefix_tokens: 0,
        memory: None,
        routes: Recording::Off,
    }
}

fn random_request(rng: &mut SmallRng) -> Request {
    let ids = |rng: &mut SmallRng, len: usize| (0..len).map(|_| rng.random_range(0..97)).collect();
    let len = rng.random_range(1..60);
    let prompt: Vec<u32> = ids(rng, len);
    let temperature = [0.0, 0.7, 100.0][rng.random_range(0..3)];
    let depth = rng.random_range(0..4);
    Request {
        prompt,
        domain: [None, Some(Domain::Code), Some(Domain::Legal)][rng.random_range(0..3)],
        sampling: SamplingConfig {
            temperature,
            seed: rng.random(),
            ..SamplingConfig::default()
        },
        max_tokens: rng.random_range(1..30),
        stop_ids: ids(rng, 2),
        speculation: (depth > 0).then_some(Speculation::always(depth)),
        deadline: None,
        routes: Recording::Off,
        scoring: None,
    }
}

type Texts = BTreeMap<RequestId, (Vec<u32>, Option<Finish>)>;

fn note(texts: &mut Texts, events: Vec<Event>) {
    for event in events {
        match event {
            Event::Token { request, id, .. } => texts.entry(request).or_default().0.push(id),
            Event::Finished { request, why, .. } => {
                texts.entry(request).or_default().1 = Some(why);
            }
            _ => {}
        }
    }
}

/// Tokens of a request that has the engine to itself.
fn alone(
    model: &CausalLm<B>,
    config: &ModelConfig,
    engine_config: EngineConfig,
    request: &Request,
) -> (Vec<u32>, Option<Finish>) {
    let mut engine = Engine::new(model, Limits::of(config), engine_config);
    let request = Request {
        deadline: None,
        ..request.clone()
    };
    let id = engine.submit(request).expect("it is in range");
    let mut texts = Texts::new();
    while !engine.is_idle() {
        note(&mut texts, engine.step());
    }
    texts.remove(&id).expect("it has ended")
}

/// A model whose embedding of one token is NaN.
fn broken_model(token: usize) -> (ModelConfig, CausalLm<B>) {
    let config = small_config(DomainMode::Soft);
    let mut model = CausalLm::init(&config, 5, &Default::default());
    model.embed_tokens = model.embed_tokens.map(|table: Tensor<B, 2>| {
        let [_, hidden] = table.dims();
        let row = Tensor::full([1, hidden], f32::NAN, &table.device());
        table.slice_assign([token..token + 1, 0..hidden], row)
    });
    (config, model)
}

#[test]
fn a_request_whose_logits_are_not_finite_ends_and_its_neighbours_do_not_notice() {
    let (config, model) = broken_model(50);
    let mut engine = Engine::new(&model, Limits::of(&config), engine_config());
    let request = |prompt: &[u32]| Request::greedy(prompt.to_vec(), 1);
    let broken = engine.submit(request(&[1, 50, 3])).unwrap();
    let sound = engine.submit(request(&[1, 2, 3])).unwrap();
    let mut texts = Texts::new();
    while !engine.is_idle() {
        note(&mut texts, engine.step());
    }
    assert_eq!(texts[&sound].1, Some(Finish::Length));
    let (ids, why) = &texts[&broken];
    assert!(ids.is_empty());
    let Some(Finish::NotFinite(error)) = why else {
        panic!("{why:?}");
    };
    assert_eq!(
        (error.part, error.found),
        (Part::Embedding, NotANumber::NaN)
    );
    let name = "embed_tokens".to_owned();
    assert_eq!(error.cause, Cause::Weight { name });
}

#[test]
fn requests_that_come_and_go_get_what_they_would_get_alone() {
    let in_blocks = Some(PageFormat::EightBits);
    for (config, format) in [
        (small_config(DomainMode::Soft), None),
        (small_config(DomainMode::Soft), in_blocks),
        (hybrid_config(DomainMode::Hard), in_blocks),
        (recurrent_config(DomainMode::Off), None),
    ] {
        let model = CausalLm::<B>::init(&config, 7, &Default::default());
        let mut how = engine_config();
        // some prompt pieces are long
        how.prefill_chunk = 40;
        how.cache.format = format;
        let mut engine = Engine::new(&model, Limits::of(&config), how);
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut texts, mut requests) = (Texts::new(), BTreeMap::new());
        let mut cancelled = Vec::new();
        while requests.len() < 40 || !engine.is_idle() {
            if requests.len() < 40 && rng.random_bool(0.6) {
                let mut request = random_request(&mut rng);
                let patience = Duration::from_millis(rng.random_range(0..100));
                let late = rng.random_bool(0.1);
                request.deadline = late.then(|| Instant::now() + patience);
                let id = engine.submit(request.clone()).expect("it is in range");
                requests.insert(id, request);
            }
            if rng.random_bool(0.05) && !requests.is_empty() {
                let at = rng.random_range(0..requests.len());
                let id = *requests.keys().nth(at).expect("there are more");
                if engine.cancel(id) {
                    cancelled.push(id);
                }
            }
            note(&mut texts, engine.step());
        }
        assert_eq!(engine.cache_bytes(), 0);
        assert!(!cancelled.is_empty());
        for (id, request) in &requests {
            let (expected, why) = alone(&model, &config, how, request);
            let (found, ended) = texts.remove(id).unwrap_or_default();
            match (cancelled.contains(id), &ended) {
                (true, _) => {
                    assert!(expected.starts_with(&found), "{id:?}");
                    assert_eq!(ended, None);
                }
                (_, Some(Finish::TimedOut)) => assert!(expected.starts_with(&found), "{id:?}"),
                _ => assert_eq!((found, ended), (expected, why), "{id:?}: {request:?}"),
            }
        }
    }
}

#[test]
fn a_common_beginning_is_read_once_and_changes_nothing() {
    let config = small_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 7, &Default::default());
    let shared = EngineConfig {
        shared_prefix_tokens: 64,
        ..engine_config()
    };
    let mut engine = Engine::new(&model, Limits::of(&config), shared);
    let system: Vec<u32> = (0..37).collect();
    for (question, steps) in [(50, 3), (60, 1), (70, 1)] {
        let prompt = [&system[..], &[question, question + 1]].concat();
        let request = Request::greedy(prompt, 8);
        let id = engine.submit(request.clone()).expect("it is in range");
        let mut texts = Texts::new();
        let mut before_the_first = 0;
        while !engine.is_idle() {
            note(&mut texts, engine.step());
            before_the_first += usize::from(texts.is_empty());
        }
        // the rest of the prompt takes one pass, the whole prompt takes three
        assert_eq!(before_the_first + 1, steps);
        assert_eq!(
            texts[&id],
            alone(&model, &config, engine_config(), &request)
        );
    }
}

/// The routes at the end of a request.
fn routes_of(engine: &mut Engine<'_, B>, request: Request) -> RouteLog {
    engine.submit(request).expect("it is in range");
    let mut routes = None;
    while !engine.is_idle() {
        for event in engine.step() {
            if let Event::Finished { routes: found, .. } = event {
                routes = found;
            }
        }
    }
    routes.expect("they are recorded")
}

#[test]
fn a_request_s_routes_are_those_of_the_tokens_that_it_has_read_itself() {
    let config = small_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 7, &Default::default());
    let shared = EngineConfig {
        shared_prefix_tokens: 64,
        ..engine_config()
    };
    let request = |question, speculation| {
        let prompt: Vec<u32> = (0..37).chain([question]).collect();
        Request {
            speculation,
            routes: Recording::On,
            ..Request::greedy(prompt, 8)
        }
    };
    let mut engine = Engine::new(&model, Limits::of(&config), shared);
    let first = routes_of(&mut engine, request(50, None));
    // the last generated token is not fed back
    assert_eq!((first.first(), first.tokens()), (0, 38 + 8 - 1));
    let second = routes_of(&mut engine, request(60, Some(Speculation::always(1))));
    assert_eq!(second.first(), 32, "two pieces of 16 were read before");
    let alone = routes_of(
        &mut Engine::new(&model, Limits::of(&config), engine_config()),
        request(60, None),
    );
    let read = (38 + 8 - 1) - 32;
    assert!(second.tokens() >= read);
    for (second, alone) in second.layers().iter().zip(alone.layers()) {
        assert_eq!(second.choices[..read * 2], alone.choices[32 * 2..]);
        assert_eq!(second.gates[..read * 2], alone.gates[32 * 2..]);
    }
}

/// A recurrent state or a window that has advanced cannot be shared.
#[test]
fn what_cannot_be_shared_is_read_again() {
    for config in [
        recurrent_config(DomainMode::Off),
        hybrid_config(DomainMode::Off),
    ] {
        let model = CausalLm::<B>::init(&config, 7, &Default::default());
        let shared = EngineConfig {
            shared_prefix_tokens: 1024,
            ..engine_config()
        };
        let mut engine = Engine::new(&model, Limits::of(&config), shared);
        for len in [100, 64, 37, 100, 33] {
            let request = Request::greedy((0..len).map(|i| i % 97).collect(), 8);
            let id = engine.submit(request.clone()).expect("it is in range");
            let mut texts = Texts::new();
            while !engine.is_idle() {
                note(&mut texts, engine.step());
            }
            assert_eq!(
                texts[&id],
                alone(&model, &config, engine_config(), &request),
                "{len}"
            );
        }
    }
}

#[test]
fn a_request_past_its_deadline_ends_and_the_others_go_on() {
    let config = small_config(DomainMode::Off);
    let model = CausalLm::<B>::init(&config, 7, &Default::default());
    let mut engine = Engine::new(&model, Limits::of(&config), engine_config());
    let request = Request::greedy(vec![1, 2, 3], 10);
    let late = Request {
        deadline: Some(Instant::now() - Duration::from_secs(1)),
        ..request.clone()
    };
    let [late, other] = [late, request].map(|r| engine.submit(r).expect("it is in range"));
    let mut texts = Texts::new();
    while !engine.is_idle() {
        note(&mut texts, engine.step());
    }
    assert_eq!(texts[&late], (Vec::new(), Some(Finish::TimedOut)));
    assert_eq!(texts[&other].0.len(), 10);
    assert_eq!(texts[&other].1, Some(Finish::Length));
}

#[test]
fn a_prompt_beyond_the_context_is_refused_in_one_line() {
    let config = small_config(DomainMode::Off);
    let model = CausalLm::<B>::init(&config, 7, &Default::default());
    let mut engine = Engine::new(&model, Limits::of(&config), engine_config());
    let error = engine.submit(Request::greedy(vec![1; 129], 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt has 129 tokens, with 0 before it, but the model's context is 128: shorten it"
    );
}

/// A token that is drawn beyond the last one, by a draft or because a prompt is only scored, ends nothing.
#[test]
fn a_stop_id_beyond_the_last_token_is_not_why_a_request_ends() {
    let config = small_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 7, &Default::default());
    let run = |request: &Request| alone(&model, &config, engine_config(), request);
    let most = 12;
    let (greedy, _) = run(&Request::greedy(vec![1, 2, 3], most + 1));
    for max_tokens in 0..=most {
        // only the first place of a token ends there
        if greedy[..max_tokens].contains(&greedy[max_tokens]) {
            continue;
        }
        for depth in 0..4 {
            let request = Request {
                max_tokens,
                stop_ids: vec![greedy[max_tokens]],
                speculation: (depth > 0).then_some(Speculation::always(depth)),
                ..Request::greedy(vec![1, 2, 3], 0)
            };
            let expected = (greedy[..max_tokens].to_vec(), Some(Finish::Length));
            assert_eq!(run(&request), expected, "{depth} drafts");
            let longer = Request {
                max_tokens: max_tokens + 1,
                ..request
            };
            assert_eq!(run(&longer), (expected.0, Some(Finish::Stop)));
        }
    }
}
