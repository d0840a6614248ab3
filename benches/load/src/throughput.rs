//! Throughput of one server, or of several in turns.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::completion::{Completion, Job, complete};
use crate::http::wait;
use crate::prompts::prompt;
use crate::summary::{median, milliseconds, percentile};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Server; several are measured in turns, and compared with the first
    #[arg(long, required = true)]
    url: Vec<String>,
    /// Numbers of streams at once
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    streams: Vec<usize>,
    /// Words of a prompt, which are about as many tokens
    #[arg(long, default_value_t = 64)]
    words: usize,
    /// Tokens to generate in each stream
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Rounds, of which medians are told
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Least throughput beside the first number of streams, as 3: at the last one. Else the exit code is 1
    #[arg(long)]
    scaling: Option<f64>,
    /// Least throughput of the first server beside the second, at each number of streams. Else the exit code is 1
    #[arg(long)]
    ratio: Option<f64>,
}

/// A round of one server.
#[derive(Debug)]
struct Round {
    tokens_per_second: f64,
    first_token_ms: Vec<f64>,
}

fn round(url: &str, streams: usize, seed: u64, options: &Options) -> Result<Round> {
    let begin = Instant::now();
    let done: Vec<Result<Completion>> = thread::scope(|scope| {
        let start = |number| {
            let job = Job {
                prompt: prompt(seed, number, options.words),
                tokens: options.tokens,
                seed: None,
            };
            scope.spawn(move || complete(url, &job))
        };
        let threads: Vec<_> = (0..streams).map(start).collect();
        let joined = threads.into_iter().map(|it| it.join().expect("no panic"));
        joined.collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let done = done.into_iter().collect::<Result<Vec<_>>>()?;
    for each in &done {
        ensure!(
            each.tokens == options.tokens,
            "{url} generated {} tokens, not {}",
            each.tokens,
            options.tokens
        );
    }
    Ok(Round {
        tokens_per_second: (streams * options.tokens) as f64 / seconds,
        first_token_ms: done.iter().map(|it| milliseconds(it.first)).collect(),
    })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut seed = 1;
    for url in &options.url {
        wait(url)?;
        round(url, 1, 0, options)?;
    }
    println!(
        "{} words to read and {} tokens to generate in each stream, medians of {} rounds",
        options.words, options.tokens, options.rounds
    );
    println!("streams  tokens/s  first token p50  p99 (ms)  server");
    let mut missed = Vec::new();
    let mut single = vec![f64::NAN; options.url.len()];
    for (place, &streams) in options.streams.iter().enumerate() {
        let mut rounds: Vec<Vec<Round>> = options.url.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            seed += 1;
            for (url, rounds) in options.url.iter().zip(&mut rounds) {
                rounds.push(round(url, streams, seed, options)?);
            }
        }
        for (at, url) in options.url.iter().enumerate() {
            let speed = |rounds: &[Round]| -> Vec<f64> {
                rounds.iter().map(|it| it.tokens_per_second).collect()
            };
            let own = median(&mut speed(&rounds[at]));
            let firsts = rounds[at].iter().flat_map(|it| it.first_token_ms.clone());
            let mut firsts: Vec<f64> = firsts.collect();
            let [half, most] = [0.5, 0.99].map(|share| percentile(&mut firsts, share));
            println!("{streams:>7}  {own:>8.1}  {half:>15.0}  {most:>8.0}  {url}");
            if at > 0 {
                let pairs = speed(&rounds[0]).into_iter().zip(speed(&rounds[at]));
                let mut ratios: Vec<f64> = pairs.map(|(first, other)| first / other).collect();
                let ratio = median(&mut ratios);
                println!("         {ratio:.2}x: the first server beside this one, median of pairs");
                if options.ratio.is_some_and(|least| ratio < least) {
                    missed.push(format!("{ratio:.2}x at {streams} streams"));
                }
            }
            if place == 0 {
                single[at] = own;
            } else if place + 1 == options.streams.len() {
                let scaling = own / single[at];
                println!(
                    "         {scaling:.2}x of its {} streams",
                    options.streams[0]
                );
                if at == 0 && options.scaling.is_some_and(|least| scaling < least) {
                    missed.push(format!("{scaling:.2}x from {} streams", options.streams[0]));
                }
            }
        }
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}
