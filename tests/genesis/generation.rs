//! Greedy tokens with and without a cache, and sampling probabilities.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::select::Selected;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::model::cache::CacheConfig;
use darkhorse_genesis::model::{CausalLm, Sequences, Ttt};

use crate::fixture::{Fixture, read, values};

type B = Selected;

fn greedy() -> SamplingConfig {
    SamplingConfig {
        temperature: 0.0,
        repetition_penalty: 1.0,
        ..Default::default()
    }
}

/// Prompt and continuation, and the logits before each token.
fn generated(
    fixture: &Fixture,
    prompt: &str,
    count: usize,
    config: SamplingConfig,
) -> (Vec<i64>, Vec<f32>) {
    let model = fixture.model::<B>();
    let (prompt, _) = fixture.integers(prompt);
    let prompt: Vec<u32> = prompt.into_iter().map(|id| id as u32).collect();
    let mut generation = Generation::new(&model, Limits::of(fixture.config()), None);
    let sampler = Sampler::new(config).expect("the settings are valid");
    generation.read(&prompt).expect("it is short");
    let mut logits = Vec::new();
    for _ in 0..count {
        let next = generation.next_token(&sampler);
        next.expect("the logits are finite").expect("it is short");
        logits.extend_from_slice(generation.logits());
    }
    let ids = generation.past().iter().map(|&id| i64::from(id));
    (ids.collect(), logits)
}

#[test]
fn greedy_tokens_with_a_cache() {
    let fixture = read();
    for (prompt, name) in [
        ("gen/prompt", "gen/cache"),
        ("gen/prompt1", "gen/prompt1_cache"),
    ] {
        let (ids, logits) = generated(&fixture, prompt, 24, greedy());
        assert_eq!(ids, fixture.integers(&format!("{name}_ids")).0, "{name}");
        fixture.compare(&format!("{name}_logits"), &logits);
    }
    let penalized = SamplingConfig {
        repetition_penalty: 1.3,
        ..greedy()
    };
    let (ids, _) = generated(&fixture, "gen/prompt", 24, penalized);
    assert_eq!(ids, fixture.integers("gen/cache_rep13_ids").0);
}

fn rows<B: Backend>(ids: &[Vec<i64>]) -> Tensor<B, 2, Int> {
    let shape = [ids.len(), ids[0].len()];
    Tensor::from_data(TensorData::new(ids.concat(), shape), &Default::default())
}

fn likeliest(logits: &[f32]) -> i64 {
    let best = logits.iter().enumerate().max_by(|l, r| l.1.total_cmp(r.1));
    best.expect("there are logits").0 as i64
}

#[test]
fn greedy_tokens_without_a_cache() {
    let fixture = read();
    for (name, ttt) in [("nottt", Ttt::Off), ("ttt", Ttt::On)] {
        let model: CausalLm<B> = fixture.model().with_ttt(ttt);
        let (mut ids, _) = fixture.integers("gen/prompt");
        let mut all = Vec::new();
        for _ in 0..24 {
            let logits = values(model.forward(&Sequences::plain(rows(&[ids.clone()]))));
            let last = &logits[logits.len() - 96..];
            ids.push(likeliest(last));
            all.extend_from_slice(last);
        }
        assert_eq!(ids, fixture.integers(&format!("gen/nocache_{name}_ids")).0);
        fixture.compare(&format!("gen/nocache_{name}_logits"), &all);
    }
}

#[test]
fn greedy_tokens_of_a_batch() {
    let fixture = read();
    let model = fixture.model::<B>();
    let (prompt, _) = fixture.integers("gen/batch_prompt");
    let mut ids: Vec<Vec<i64>> = prompt.chunks(20).map(<[i64]>::to_vec).collect();
    let mut cache = model.empty_cache(&CacheConfig::default());
    let mut new = ids.clone();
    let mut steps = Vec::new();
    for _ in 0..8 {
        let begin = cache.len() as i64;
        let end = begin + new[0].len() as i64;
        let positions = Tensor::<B, 1, Int>::arange(begin..end, &Default::default());
        let input = Sequences {
            positions: positions.unsqueeze::<2>().repeat_dim(0, 2),
            ..Sequences::plain(rows(&new))
        };
        let states = model.extend_one(&input, &mut cache).states;
        let last = values(model.logits(states.narrow(1, new[0].len() - 1, 1)));
        for (row, logits) in last.chunks(96).enumerate() {
            new[row] = vec![likeliest(logits)];
            ids[row].push(new[row][0]);
        }
        steps.push(last);
    }
    assert_eq!(ids.concat(), fixture.integers("gen/batch_cache_ids").0);
    let by_row = (0..2).flat_map(|row| steps.iter().map(move |step| &step[row * 96..][..96]));
    let logits: Vec<f32> = by_row.flatten().copied().collect();
    fixture.compare("gen/batch_cache_logits", &logits);
}

#[test]
fn probabilities_of_the_draw() {
    let fixture = read();
    let model = fixture.model::<B>();
    let (prompt, _) = fixture.integers("gen/prompt");
    let prompt: Vec<u32> = prompt.into_iter().map(|id| id as u32).collect();
    let mut generation = Generation::new(&model, Limits::of(fixture.config()), None);
    generation.read(&prompt).expect("it is short");
    fixture.compare("sampling/logits", generation.logits());
    let open = SamplingConfig {
        temperature: 1.5,
        top_k: 0,
        top_p: 0.95,
        min_p: 0.0,
        repetition_penalty: 1.0,
        seed: 0,
    };
    let narrow = SamplingConfig {
        temperature: 0.7,
        top_k: 20,
        top_p: 0.8,
        repetition_penalty: 1.3,
        ..open.clone()
    };
    for (name, config) in [("t1.5_p0.95", open), ("t0.7_k20_p0.8_rep1.3", narrow)] {
        let sampler = Sampler::new(config).expect("the settings are valid");
        let found = sampler.distribution(generation.logits(), &prompt);
        let found: Vec<f32> = found.into_iter().map(|it| it as f32).collect();
        fixture.compare(&format!("sampling/probs_{name}"), &found);
    }
}
