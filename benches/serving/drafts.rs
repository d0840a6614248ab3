//! Speculative drafts of a trained run: identical output, acceptance rates and time saved.

use std::time::Instant;

use darkhorse_backends::awake;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::inference::{
    Acceptance, Generation, Sampler, SamplingConfig, Speculation, When,
};

use crate::Outcome;
use crate::run::Trained;

/// Number of new tokens per prompt.
const NEW: usize = 32;
/// Lengths in tokens of repeated passages, and of the prompt made of one.
const PASSAGES: [usize; 3] = [4, 8, 24];
const REPEATED: usize = 144;
/// Number of new tokens after the last repetition.
const REPEATED_NEW: usize = 192;
const ROUNDS: usize = 3;

/// Numbers of accepted and drafted tokens, by position.
#[derive(Default)]
struct Places(Vec<[usize; 2]>);

impl Places {
    fn add(&mut self, acceptance: &Acceptance) {
        let counts = acceptance.accepted.iter().zip(&acceptance.drafted);
        for (place, (accepted, drafted)) in counts.enumerate() {
            self.0.resize(self.0.len().max(place + 1), [0; 2]);
            self.0[place][0] += accepted;
            self.0[place][1] += drafted;
        }
    }

    fn told(&self) -> String {
        let share = |[accepted, drafted]: &[usize; 2]| {
            let share = 100.0 * *accepted as f64 / *drafted as f64;
            format!("{share:.1} % of {drafted}")
        };
        let shares: Vec<String> = self.0.iter().map(share).collect();
        shares.join(", ")
    }
}

struct Made {
    ids: Vec<u32>,
    acceptance: Option<Acceptance>,
    seconds: f64,
}

fn generate(
    trained: &Trained,
    prompt: &[u32],
    new: usize,
    speculation: Option<Speculation>,
) -> Outcome<Made> {
    let sampler = Sampler::new(SamplingConfig::greedy())?;
    let mut generation: Generation<'_, Selected> =
        Generation::new(&trained.model, trained.limits(), None);
    if let Some(speculation) = speculation {
        generation = generation.speculating(speculation)?;
    }
    generation.read(prompt)?;
    let begin = Instant::now();
    for _ in 0..new {
        generation.next_token(&sampler)?;
    }
    Ok(Made {
        seconds: begin.elapsed().as_secs_f64(),
        ids: generation.past()[prompt.len()..].to_vec(),
        acceptance: generation.acceptance().cloned(),
    })
}

/// Compares greedy ids with and without drafts of one to three tokens.
pub(crate) fn change_nothing(trained: &Trained, count: usize) -> Outcome {
    let documents = trained.documents("train")?;
    let mut by_depth: [Places; 3] = Default::default();
    let differing = awake(|| -> Outcome<usize> {
        let mut differing = 0;
        for number in 0..count {
            let ids = &documents[number * 7 % documents.len()];
            let prompt = &ids[..ids.len().min(4 + number % 60)];
            let depth = 1 + number % 3;
            let plain = generate(trained, prompt, NEW, None)?;
            let drafted = generate(trained, prompt, NEW, Some(Speculation::always(depth)))?;
            differing += usize::from(plain.ids != drafted.ids);
            if let Some(acceptance) = &drafted.acceptance {
                by_depth[depth - 1].add(acceptance);
            }
        }
        Ok(differing)
    })?;
    println!("{count} prompts x {NEW} greedy tokens, with and without drafts: {differing} differ");
    for (depth, places) in by_depth.iter().enumerate() {
        println!(
            "drafts of {}: accepted by place {}",
            depth + 1,
            places.told()
        );
    }
    match differing {
        0 => Ok(()),
        _ => Err("drafts have changed a text".into()),
    }
}

/// Prompts that repeat a passage of the training texts, alternately with and without drafts.
pub(crate) fn on_repeats(trained: &Trained) -> Outcome {
    let documents = trained.documents("train")?;
    for passage in PASSAGES {
        on_repeats_of(trained, &documents, passage)?;
    }
    Ok(())
}

fn on_repeats_of(trained: &Trained, documents: &[Vec<u32>], passage_len: usize) -> Outcome {
    let times = REPEATED / passage_len;
    let prompts: Vec<Vec<u32>> = documents
        .iter()
        .step_by(97)
        .filter(|ids| ids.len() > passage_len + 8)
        .map(|ids| {
            let (opening, passage) = (&ids[..1], &ids[8..8 + passage_len]);
            [opening, &passage.repeat(times)[..]].concat()
        })
        .collect();
    let likely = Speculation {
        when: When::Always,
        ..Speculation::default()
    };
    let ways = [
        ("without", None),
        ("1 token", Some(Speculation::always(1))),
        ("2 tokens", Some(Speculation::always(2))),
        ("1 likely one", Some(likely)),
        ("2 likely ones", Some(Speculation { depth: 2, ..likely })),
        ("1 likely one where it pays", Some(Speculation::default())),
    ];
    let mut rates = vec![Vec::new(); ways.len()];
    let mut places: Vec<Places> = ways.iter().map(|_| Places::default()).collect();
    awake(|| -> Outcome<()> {
        for round in 0..ROUNDS {
            for prompt in &prompts {
                // interleaved, so that other load on the machine slows all variants equally
                for (way, &(_, speculation)) in ways.iter().enumerate() {
                    let made = generate(trained, prompt, REPEATED_NEW, speculation)?;
                    rates[way].push(made.ids.len() as f64 / made.seconds);
                    if let (0, Some(acceptance)) = (round, &made.acceptance) {
                        places[way].add(acceptance);
                    }
                }
            }
        }
        Ok(())
    })?;
    println!(
        "{} prompts, {times} times a passage of {passage_len} tokens, {REPEATED_NEW} new ones each; medians over {ROUNDS} rounds of prompts, all ways in turns",
        prompts.len()
    );
    for (way, (name, _)) in ways.iter().enumerate() {
        let ratios = rates[way]
            .iter()
            .zip(&rates[0])
            .map(|(rate, plain)| rate / plain);
        println!(
            "{name:<26} {:>8.1} tokens/s, {:.2}x   accepted by place: {}",
            median(rates[way].clone()),
            median(ratios.collect()),
            places[way].told()
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
