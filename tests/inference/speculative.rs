//! Generated text does not depend on speculative drafts.

use crate::support::{hybrid_config, recurrent_config, small_config};
use std::collections::BTreeMap;

use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{
    Acceptance, Engine, EngineConfig, Event, Generation, GenerationError, Limits, Request,
    RequestId, Sampler, SamplingConfig, Speculation,
};
use darkhorse_genesis::model::cache::CacheConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig};

type B = Selected;

/// A model with this number of drafting modules.
fn drafting(config: ModelConfig, modules: usize) -> ModelConfig {
    ModelConfig {
        num_nextn_predict_layers: modules,
        ..config
    }
}

fn sampled(temperature: f64, seed: u64) -> Sampler {
    Sampler::new(SamplingConfig {
        temperature,
        top_k: 0,
        top_p: 1.0,
        repetition_penalty: 1.1,
        seed,
        ..SamplingConfig::default()
    })
    .expect("the settings are in range")
}

fn prompt(number: usize) -> Vec<u32> {
    let len = 1 + number * 13 % 40;
    (0..len)
        .map(|i| ((i * i + number * 31) % 97) as u32)
        .collect()
}

fn generated(
    mut generation: Generation<'_, B>,
    prompt: &[u32],
    sampler: &Sampler,
    count: usize,
) -> (Vec<u32>, Option<Acceptance>) {
    generation.read(prompt).expect("the prompt is in range");
    for _ in 0..count {
        generation
            .next_token(sampler)
            .expect("the logits are finite");
    }
    let acceptance = generation.acceptance().cloned();
    (generation.past().to_vec(), acceptance)
}

/// With equal noise, the drafts of a hot sampler are mostly right, those of a cold one mostly wrong.
#[test]
fn the_text_is_the_same_with_and_without_drafts() {
    let (mut none, mut some) = (0, 0);
    for (config, modules) in [
        (small_config(DomainMode::Soft), 1),
        (small_config(DomainMode::Hard), 3),
        (hybrid_config(DomainMode::Off), 2),
        (recurrent_config(DomainMode::Off), 2),
    ] {
        let config = drafting(config, modules);
        let model = CausalLm::<B>::init(&config, 5, &Default::default());
        for number in 0..50 {
            let cache = CacheConfig {
                format: [None, Some(PageFormat::EightBits)][number / 4 % 2],
                ..CacheConfig::default()
            };
            let begin = || {
                let limits = Limits::of(&config);
                Generation::with_cache(&model, limits, Some(Domain::Code), cache)
            };
            let sampler = sampled([0.0, 1.0, 6.0, 200.0][number % 4], number as u64);
            let prompt = prompt(number);
            let (expected, _) = generated(begin(), &prompt, &sampler, 24);
            let speculation = Speculation::always(1 + number % 5);
            let drafted = begin().speculating(speculation).expect("it has modules");
            let (found, acceptance) = generated(drafted, &prompt, &sampler, 24);
            assert_eq!(found, expected, "prompt {number}, {modules} modules");
            let acceptance = acceptance.expect("it drafted");
            match acceptance.share() {
                Some(share) if share > 0.5 => some += 1,
                _ => none += 1,
            }
        }
    }
    assert!(none > 20 && some > 20, "{none} drafted badly, {some} well");
}

/// A sequence that has read this prompt and 24 more tokens.
fn read_and_continued<'m>(
    mut generation: Generation<'m, B>,
    prompt: &[u32],
    sampler: &Sampler,
) -> Generation<'m, B> {
    generation.read(prompt).expect("it is in range");
    for _ in 0..24 {
        generation.next_token(sampler).expect("they are finite");
    }
    generation
}

/// Per layer, visits and choices of null experts add up to tokens times k, rejected drafts excluded.
#[test]
fn the_routes_of_a_text_are_exact_and_the_same_with_and_without_drafts() {
    for (config, nulls) in [
        (small_config(DomainMode::Off), 0),
        (hybrid_config(DomainMode::Soft), 0),
        (small_config(DomainMode::Soft), 5),
    ] {
        let mut config = drafting(config, 2);
        let router = &mut config.moe.as_mut().expect("it has experts").router;
        router.null_experts = nulls;
        router.k_target = (nulls > 0).then_some(1.5);
        config.validate().expect("it is valid");
        let model = CausalLm::<B>::init(&config, 5, &Default::default());
        let (mut rejected, mut of_null) = (0, 0);
        for number in 0..8 {
            let begin = || Generation::new(&model, Limits::of(&config), None).recording_routes();
            let sampler = sampled([0.0, 1.0, 6.0, 200.0][number % 4], number as u64);
            let run = |generation| read_and_continued(generation, &prompt(number), &sampler);
            let plain = run(begin());
            let unrecorded = run(Generation::new(&model, Limits::of(&config), None));
            assert_eq!(plain.past(), unrecorded.past());
            assert_eq!(
                plain.logits(),
                unrecorded.logits(),
                "recording changes nothing"
            );
            let drafting = begin().speculating(Speculation::always(3));
            let mut drafted = run(drafting.expect("it has modules"));
            let acceptance = drafted.acceptance().expect("it drafted");
            let made: usize = acceptance.drafted.iter().sum();
            rejected += made - acceptance.accepted.iter().sum::<usize>();

            let expected = plain.routes().expect("they are recorded");
            let read = plain.past().len() - 1;
            assert_eq!(expected.tokens(), read);
            let found = drafted.routes().expect("they are recorded");
            assert!((read..=read + 3).contains(&found.tokens()));
            for log in [expected, found] {
                for counts in log.counts() {
                    let choices = counts.experts.iter().chain(&counts.null).sum::<u64>();
                    assert_eq!(choices, log.tokens() as u64 * 2);
                    of_null += counts.null.iter().sum::<u64>();
                }
            }
            assert_eq!(found.layers().len(), 2);
            for (found, expected) in found.layers().iter().zip(expected.layers()) {
                assert_eq!(found.choices[..read * 2], expected.choices, "{number}");
                assert_eq!(found.gates[..read * 2], expected.gates, "{number}");
            }
            if drafted.truncate(read - 3) {
                let left = drafted.routes().expect("they are recorded");
                assert_eq!(left.tokens(), read - 3);
            }
        }
        assert!(rejected > 20, "{rejected}");
        assert_eq!(of_null > 0, nulls > 0, "{of_null}");
    }
}

#[test]
fn drafts_end_where_the_context_does() {
    let config = ModelConfig {
        max_position_embeddings: 20,
        ..small_config(DomainMode::Off)
    };
    let model = CausalLm::<B>::init(&config, 1, &Default::default());
    let sampler = sampled(200.0, 1);
    let begin = || Generation::new(&model, Limits::of(&config), None);
    let (expected, _) = generated(begin(), &prompt(1), &sampler, 30);
    let speculation = Speculation::always(4);
    let drafted = begin().speculating(speculation).expect("it has modules");
    let (found, _) = generated(drafted, &prompt(1), &sampler, 30);
    assert_eq!(found.len(), 20);
    assert_eq!(found, expected);
}

/// As in a conversation, whose next message invalidates drafts that were not used yet.
#[test]
fn reading_on_forgets_what_was_drafted_but_not_given() {
    let config = small_config(DomainMode::Soft);
    let model = CausalLm::<B>::init(&config, 1, &Default::default());
    let begin = || Generation::new(&model, Limits::of(&config), None);
    let sampler = sampled(200.0, 3);
    let texts = [1, 2, 3].map(|given| {
        let [plain, drafted] = [false, true].map(|drafts| {
            let mut generation = begin();
            if drafts {
                let speculation = Speculation::always(4);
                generation = generation.speculating(speculation).expect("it has modules");
            }
            for message in 0..3 {
                generation.read(&prompt(message)[..1]).expect("it is short");
                for _ in 0..given {
                    generation
                        .next_token(&sampler)
                        .expect("the logits are finite");
                }
            }
            generation.past().to_vec()
        });
        assert_eq!(drafted, plain);
        plain
    });
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn a_draft_ends_where_it_becomes_unlikely() {
    let config = drafting(small_config(DomainMode::Off), 1);
    let model = CausalLm::<B>::init(&config, 5, &Default::default());
    let sampler = sampled(0.0, 1);
    let begin = || Generation::new(&model, Limits::of(&config), None);
    let (expected, _) = generated(begin(), &prompt(2), &sampler, 40);
    // with random weights, the most probable of 97 ids has little more than 1/97
    let [all, some, none] = [0.0, 0.02, 1.0].map(|min_probability| {
        let speculation = Speculation {
            min_probability,
            ..Speculation::always(3)
        };
        let drafted = begin().speculating(speculation).expect("it has modules");
        let (found, acceptance) = generated(drafted, &prompt(2), &sampler, 40);
        assert_eq!(found, expected, "{min_probability}");
        acceptance.expect("it may draft").drafted
    });
    assert!(none.is_empty(), "{none:?}");
    assert!(
        some[0] == all[0] && some[2] * 2 < all[2],
        "{some:?} of {all:?}"
    );
}

#[test]
fn a_model_without_modules_says_so() {
    let config = drafting(small_config(DomainMode::Off), 0);
    let model = CausalLm::<B>::init(&config, 1, &Default::default());
    let generation = Generation::new(&model, Limits::of(&config), None);
    let error = generation.speculating(Speculation::default()).err();
    assert_eq!(error, Some(GenerationError::NoDrafter));
}

/// Twenty thousand texts of two tokens, with and without drafts; each token must follow its own distribution.
#[test]
fn drafted_tokens_are_distributed_as_the_model_says() {
    const DRAWS: u64 = 20_000;
    let config = small_config(DomainMode::Off);
    let model = CausalLm::<B>::init(&config, 5, &Default::default());
    let limits = Limits::of(&config);
    let sampling = |seed| SamplingConfig {
        temperature: 2.0,
        top_k: 0,
        top_p: 1.0,
        seed,
        ..SamplingConfig::default()
    };
    let mut engine = Engine::new(&model, limits, EngineConfig::default());
    let mut texts = BTreeMap::<RequestId, Vec<u32>>::new();
    for seed in 0..DRAWS {
        let request = Request {
            sampling: sampling(seed),
            speculation: Some(Speculation::always(2)),
            ..Request::greedy(vec![3, 1, 4], 2)
        };
        let id = engine.submit(request).expect("it is in range");
        texts.insert(id, Vec::new());
    }
    while !engine.is_idle() {
        for event in engine.step() {
            if let Event::Token { request, id, .. } = event {
                texts.entry(request).or_default().push(id);
            }
        }
    }
    // the most probable first token, and the distribution after it
    let mut generation = Generation::new(&model, limits, None);
    generation.read(&[3, 1, 4]).expect("it is short");
    let sampler = Sampler::new(sampling(0)).expect("it is in range");
    let first = sampler.distribution(generation.logits(), &[3, 1, 4]);
    let most = (0..first.len()).max_by(|&l, &r| first[l].total_cmp(&first[r]));
    let most = most.expect("there are tokens");
    generation.read(&[most as u32]).expect("it is short");
    let past = generation.past().to_vec();
    let second = sampler.distribution(generation.logits(), &past);
    let texts: Vec<Vec<u32>> = texts.into_values().collect();
    let firsts = texts.iter().map(|text| text[0]);
    let seconds = texts.iter().filter(|text| text[0] == most as u32);
    assert_distributed(&first, firsts);
    assert_distributed(&second, seconds.map(|text| text[1]));
}

/// Chi-square test over the tokens with an expectation of at least five, at p = 0.001.
fn assert_distributed(expected: &[f64], drawn: impl Iterator<Item = u32>) {
    let mut counts = vec![0.0; expected.len()];
    drawn.for_each(|id| counts[id as usize] += 1.0);
    let total: f64 = counts.iter().sum();
    let cells: Vec<(f64, f64)> = expected
        .iter()
        .zip(counts)
        .map(|(share, count)| (share * total, count))
        .filter(|&(expected, _)| expected >= 5.0)
        .collect();
    let chi_square: f64 = cells
        .iter()
        .map(|(expected, count)| (count - expected).powi(2) / expected)
        .sum();
    // Wilson and Hilferty's approximation of the quantile at 3.09 standard deviations
    let freedom = (cells.len() - 1) as f64;
    let spread = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3);
    assert!(cells.len() > 10, "{} cells", cells.len());
    assert!(
        chi_square < limit,
        "{chi_square} of {} cells, at most {limit}",
        cells.len()
    );
}
