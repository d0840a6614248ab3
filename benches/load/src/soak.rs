//! A long run with many streams, of which some read slowly and some go away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::completion::{Job, complete, start};
use crate::http::{request, wait};
use crate::prompts::prompt;

/// Stack of a stream's thread, in bytes.
const STACK: usize = 256 << 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Server
    #[arg(long)]
    url: String,
    /// Process whose memory is watched
    #[arg(long)]
    pid: u32,
    /// Streams at once
    #[arg(long, default_value_t = 500)]
    streams: usize,
    /// Minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Different requests, whose texts are known from requests alone
    #[arg(long, default_value_t = 40)]
    requests: usize,
    /// Words of the longest prompt
    #[arg(long, default_value_t = 60)]
    words: usize,
    /// Tokens of the longest text
    #[arg(long, default_value_t = 48)]
    tokens: usize,
    /// Largest growth of the memory from the second to the last fifth of the time, in MB
    #[arg(long, default_value_t = 20.0)]
    growth: f64,
    /// Largest memory beyond that of the idle server and the bytes of its caches, in MB
    #[arg(long, default_value_t = 150.0)]
    beyond: f64,
}

/// What has become of the streams.
#[derive(Debug, Default)]
struct Counts {
    whole: AtomicUsize,
    left: AtomicUsize,
    refused: AtomicUsize,
}

/// A value in Prometheus' text, over all labels.
fn metric(url: &str, name: &str) -> Result<f64> {
    let text = request(url, "/metrics", None)?.text()?;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_name = rest.starts_with([' ', '{']);
        is_name.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    let values: Vec<f64> = values.collect();
    ensure!(!values.is_empty(), "{url} has no metric {name}");
    Ok(values.iter().sum())
}

/// Resident memory of a process, in MB.
fn resident(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024.0 / 1e6)
}

/// One stream after another until the end.
fn client(
    options: &Options,
    known: &[(Job, String)],
    seed: u64,
    end: Instant,
    counts: &Counts,
) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    while Instant::now() < end {
        let (job, text) = &known[rng.random_range(0..known.len())];
        let is_slow = rng.random_bool(0.2);
        let leaves_after = rng
            .random_bool(0.3)
            .then(|| rng.random_range(0..job.tokens));
        let mut stream = match start(&options.url, job) {
            Ok(stream) => stream,
            Err(error) if error.to_string().contains("status 429") => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(rng.random_range(50..1000)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut events = 0;
        let leaves = loop {
            if leaves_after.is_some_and(|after| events >= after) {
                break true;
            }
            if !stream.step()? {
                break false;
            }
            events += 1;
            if is_slow {
                thread::sleep(Duration::from_millis(rng.random_range(0..200)));
            }
        };
        let found = &stream.done.text;
        let is_right = if leaves {
            text.starts_with(found.as_str())
        } else {
            text == found
        };
        ensure!(
            is_right,
            "seed {:?} of {:?} gave {found:?}, alone {text:?}",
            job.seed,
            job.prompt
        );
        let count = if leaves { &counts.left } else { &counts.whole };
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<()> {
    wait(&options.url)?;
    let mut rng = SmallRng::seed_from_u64(7);
    let mut known = Vec::new();
    for number in 0..options.requests {
        let job = Job {
            prompt: prompt(3, number, rng.random_range(1..=options.words)),
            tokens: rng.random_range(1..=options.tokens),
            seed: rng.random_bool(0.5).then(|| rng.random_range(0..1 << 40)),
        };
        let alone = complete(&options.url, &job)?;
        known.push((job, alone.text));
    }
    let idle = resident(options.pid)?;
    println!("{} requests alone, {idle:.0} MB", known.len());

    let counts = Counts::default();
    let begin = Instant::now();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let end = begin + length;
    let (mut memory, mut beyond) = (Vec::new(), 0f64);
    let failures = thread::scope(|scope| -> Result<Vec<String>> {
        let known = &known;
        let counts = &counts;
        let mut clients = Vec::new();
        for number in 0..options.streams {
            let builder = thread::Builder::new().stack_size(STACK);
            let seed = number as u64;
            clients.push(
                builder.spawn_scoped(scope, move || client(options, known, seed, end, counts))?,
            );
        }
        let pause = length.as_secs_f64() / 100.0;
        while Instant::now() < end {
            thread::sleep(Duration::from_secs_f64(pause));
            let caches = metric(&options.url, "darkhorse:cache_bytes")? / 1e6;
            let now = resident(options.pid)?;
            memory.push(now);
            beyond = beyond.max(now - idle - caches);
            if memory.len() % 10 == 0 {
                let [whole, left, refused] = [&counts.whole, &counts.left, &counts.refused]
                    .map(|it| it.load(Ordering::Relaxed));
                println!(
                    "{:>5.0} s  {whole} whole, {left} left, {refused} refused  {now:.0} MB, {caches:.0} MB of them caches",
                    begin.elapsed().as_secs_f64()
                );
            }
        }
        let joined = clients.into_iter().map(|it| it.join().expect("no panic"));
        Ok(joined
            .filter_map(|it| it.err().map(|error| format!("{error:#}")))
            .collect())
    })?;
    ensure!(
        failures.is_empty(),
        "{} streams failed, one by: {}",
        failures.len(),
        failures[0]
    );

    // who went away is gone from the batch after the pass that runs
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let [running, waiting] = ["vllm:num_requests_running", "vllm:num_requests_waiting"]
            .map(|it| metric(&options.url, it));
        let stuck = running? + waiting?;
        if stuck == 0.0 {
            break;
        }
        ensure!(Instant::now() < patience, "{stuck} requests are stuck");
        thread::sleep(Duration::from_millis(100));
    }
    for (job, text) in &known {
        ensure!(
            complete(&options.url, job)?.text == *text,
            "another text after the load"
        );
    }
    let fifth = memory.len() / 5;
    let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let growth = most(&memory[memory.len() - fifth..]) - most(&memory[fifth..2 * fifth]);
    println!(
        "memory grew by {growth:.1} MB from the second to the last fifth of the time, bar {}",
        options.growth
    );
    println!(
        "at most {beyond:.1} MB beyond the idle server and its caches, bar {}",
        options.beyond
    );
    ensure!(
        growth <= options.growth && beyond <= options.beyond,
        "memory is above its bar"
    );
    Ok(())
}
