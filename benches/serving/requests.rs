//! Requests of random lengths that arrive, end, are cancelled and time out: memory use, and equal output.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use darkhorse_backends::awake;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{
    Engine, EngineConfig, Event, Finish, Limits, Recording, Request, RequestId, SamplingConfig,
    Speculation,
};
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::Outcome;
use crate::memory::{mib, resident};

/// Number of requests between two checks of the memory.
const EVERY: usize = 25;

type Texts = BTreeMap<RequestId, (Vec<u32>, Option<Finish>)>;

fn request(rng: &mut SmallRng, vocab_size: u32) -> Request {
    let mut ids = |len: usize| (0..len).map(|_| rng.random_range(0..vocab_size)).collect();
    let (prompt, stop_ids): (Vec<u32>, Vec<u32>) = (ids(700), ids(4));
    let len = rng.random_range(1..=prompt.len());
    let depth = rng.random_range(0..4);
    Request {
        prompt: prompt[..len].to_vec(),
        domain: [None, Some(Domain::Code), Some(Domain::Legal)][rng.random_range(0..3)],
        sampling: SamplingConfig {
            temperature: [0.0, 0.8, 2.0][rng.random_range(0..3)],
            seed: rng.random(),
            ..SamplingConfig::default()
        },
        max_tokens: rng.random_range(1..120),
        stop_ids,
        speculation: (depth > 0).then(|| Speculation {
            depth,
            ..[Speculation::always(depth), Speculation::default()][rng.random_range(0..2)]
        }),
        deadline: None,
        routes: Recording::Off,
        scoring: None,
    }
}

fn note(texts: &mut Texts, events: Vec<Event>) -> usize {
    let mut ended = 0;
    for event in events {
        match event {
            Event::Token { request, id, .. } => texts.entry(request).or_default().0.push(id),
            Event::Finished { request, why, .. } => {
                ended += 1;
                texts.entry(request).or_default().1 = Some(why);
            }
            _ => {}
        }
    }
    ended
}

fn alone(
    model: &CausalLm<Selected>,
    config: &ModelConfig,
    request: &Request,
) -> Outcome<(Vec<u32>, Option<Finish>)> {
    let mut engine = Engine::new(model, Limits::of(config), EngineConfig::default());
    let request = Request {
        deadline: None,
        ..request.clone()
    };
    let id = engine.submit(request)?;
    let mut texts = Texts::new();
    while !engine.is_idle() {
        note(&mut texts, engine.step());
    }
    Ok(texts.remove(&id).ok_or("it has ended")?)
}

/// Serves `count` requests of the `tiny` preset with random weights, then each request alone.
pub(crate) fn at_random(count: usize) -> Outcome {
    let config = Experiment::preset("tiny")?.model;
    let model = CausalLm::<Selected>::init(&config, 7, &Default::default());
    let mut engine = Engine::new(&model, Limits::of(&config), EngineConfig::default());
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut texts, mut requests) = (Texts::new(), BTreeMap::new());
    let (mut cancelled, mut ended, mut next_look) = (Vec::new(), 0, EVERY);
    let mut resident_after = Vec::new();
    let begin = Instant::now();
    awake(|| -> Outcome<()> {
        while requests.len() < count || !engine.is_idle() {
            let [running, waiting] = engine.load();
            if requests.len() < count && running + waiting < 80 && rng.random_bool(0.7) {
                let mut request = request(&mut rng, config.vocab_size as u32);
                if rng.random_bool(0.15) {
                    let patience = Duration::from_millis(rng.random_range(0..1500));
                    request.deadline = Some(Instant::now() + patience);
                }
                let id = engine.submit(request.clone())?;
                requests.insert(id, request);
            }
            if rng.random_bool(0.02) && !requests.is_empty() {
                let back = rng.random_range(0..requests.len().min(60));
                let id = *requests.keys().rev().nth(back).ok_or("there are more")?;
                if engine.cancel(id) {
                    ended += 1;
                    cancelled.push(id);
                }
            }
            ended += note(&mut texts, engine.step());
            if ended >= next_look {
                next_look += EVERY;
                resident_after.push(resident()?);
                let [running, waiting] = engine.load();
                println!(
                    "{ended:>4} ended, {running:>2} running, {waiting:>2} waiting: {:>6.1} MiB resident, caches {:>5.1} MiB",
                    mib(resident()?),
                    mib(engine.cache_bytes() as u64)
                );
            }
        }
        Ok(())
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let tokens: usize = texts.values().map(|(text, _)| text.len()).sum();
    if engine.cache_bytes() != 0 {
        return Err("caches are left".into());
    }
    let (mut whole, mut late) = (0, 0);
    for (id, request) in &requests {
        let (expected, why) = alone(&model, &config, request)?;
        let (found, ended) = texts.remove(id).unwrap_or_default();
        let broken_off = cancelled.contains(id) || ended == Some(Finish::TimedOut);
        late += usize::from(ended == Some(Finish::TimedOut));
        let equal = if broken_off {
            expected.starts_with(&found)
        } else {
            whole += 1;
            (&found, ended) == (&expected, why)
        };
        if !equal {
            return Err(format!("{id:?} differs: {found:?}, alone {expected:?}").into());
        }
    }
    println!(
        "{count} requests, {tokens} tokens in {seconds:.1} s: {whole} whole, {} cancelled, {late} timed out; each as alone",
        cancelled.len()
    );
    // the first third fills the batch, the prefixes and the allocator's pools
    let settled = &resident_after[resident_after.len() / 3..];
    let (least, most) = (settled.iter().min(), settled.iter().max());
    let (least, most) = (least.ok_or("too few")?, most.ok_or("too few")?);
    println!(
        "resident in the last two thirds: {:.1} to {:.1} MiB, at the end {:.1}",
        mib(*least),
        mib(*most),
        mib(resident()?)
    );
    Ok(())
}
