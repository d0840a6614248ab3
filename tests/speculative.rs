//! What is generated does not depend on drafts.

mod support;

use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{
    Acceptance, Generation, GenerationError, Limits, Sampler, SamplingConfig, Speculation, When,
};
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use support::{hybrid_config, small_config};

type B = Selected;

/// With so many modules that draft.
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
        generation.next_token(sampler);
    }
    let acceptance = generation.acceptance().cloned();
    (generation.past().to_vec(), acceptance)
}

/// Equal noise makes the drafts of a hot sampler mostly right, those of a cold one mostly wrong.
#[test]
fn the_text_is_the_same_with_and_without_drafts() {
    let (mut none, mut some) = (0, 0);
    for (config, modules) in [
        (small_config(DomainMode::Soft), 1),
        (small_config(DomainMode::Hard), 3),
        (hybrid_config(DomainMode::Off), 2),
    ] {
        let config = drafting(config, modules);
        let model = CausalLm::<B>::init(&config, 5, &Default::default());
        let begin = || Generation::new(&model, Limits::of(&config), Some(Domain::Code));
        for number in 0..50 {
            let sampler = sampled([0.0, 1.0, 6.0, 200.0][number % 4], number as u64);
            let prompt = prompt(number);
            let (expected, _) = generated(begin(), &prompt, &sampler, 24);
            let speculation = Speculation {
                depth: 1 + number % 5,
                when: When::Always,
            };
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
    let speculation = Speculation {
        depth: 4,
        when: When::Always,
    };
    let drafted = begin().speculating(speculation).expect("it has modules");
    let (found, _) = generated(drafted, &prompt(1), &sampler, 30);
    assert_eq!(found.len(), 20);
    assert_eq!(found, expected);
}

/// As in a conversation, whose next message makes drafts void that were not given out yet.
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
                let speculation = Speculation {
                    depth: 4,
                    when: When::Always,
                };
                generation = generation.speculating(speculation).expect("it has modules");
            }
            for message in 0..3 {
                generation.read(&prompt(message)[..1]).expect("it is short");
                for _ in 0..given {
                    generation.next_token(&sampler);
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
fn a_model_without_modules_says_so() {
    let config = drafting(small_config(DomainMode::Off), 0);
    let model = CausalLm::<B>::init(&config, 1, &Default::default());
    let generation = Generation::new(&model, Limits::of(&config), None);
    let error = generation.speculating(Speculation::default()).err();
    assert_eq!(error, Some(GenerationError::NoDrafter));
}
