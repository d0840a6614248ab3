//! Peak memory of reading data for files of different sizes, which must not grow with them.
//!
//! `cargo bench --bench bounded_memory -- 100 5000` writes files of 100 MB and 5000 MB into a temporary folder (in
//! `TMPDIR`; the tokens take half as much again). For each file it trains a tokenizer, tokenizes, and packs 200
//! batches, each in a separate process. It prints the peak resident memory of each process (Linux only) and the
//! speeds.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use darkhorse_genesis::data::{
    Corpus, Position, Progress, Source, SourceOptions, Stream, StreamConfig,
};
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::tokenizer::Tokenizer;

const DEFAULT_MB: [u64; 2] = [100, 1000];
const BATCHES: u64 = 200;
const VOCAB_SIZE: usize = 8192;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["train", folder] => train(folder.as_ref()),
        ["stream", folder] => stream(folder.as_ref()),
        _ => measure(&arguments),
    }
}

fn measure(arguments: &[String]) -> Outcome {
    let mut sizes: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = DEFAULT_MB.into();
    }
    for size_mb in sizes {
        let folder = tempfile::tempdir()?;
        write_documents(&folder.path().join("data.jsonl"), size_mb << 20)?;
        for job in ["train", "stream"] {
            let mut child = Command::new(std::env::current_exe()?);
            let status = child.arg(job).arg(folder.path()).status()?;
            if !status.success() {
                return Err(format!("`{job}` of {size_mb} MB ended with {status}").into());
            }
        }
    }
    Ok(())
}

fn source(folder: &Path) -> Outcome<Source> {
    Ok(Source::open(
        &[folder.join("data.jsonl")],
        SourceOptions::default(),
    )?)
}

fn train(folder: &Path) -> Outcome {
    let source = source(folder)?;
    let start = Instant::now();
    let mut error = None;
    let tokenizer = Tokenizer::train(source.texts(&mut error), VOCAB_SIZE)?;
    if let Some(error) = error {
        return Err(error.into());
    }
    tokenizer.save(&folder.join("tokenizer.json"))?;
    report("train a tokenizer", &source, start.elapsed().as_secs_f64())
}

fn stream(folder: &Path) -> Outcome {
    let source = source(folder)?;
    let tokenizer = Tokenizer::from_file(folder)?;
    let start = Instant::now();
    let corpus = Corpus::open(&source, &tokenizer, &folder.join("cache"), Progress::Hidden)?;
    report("tokenize", &source, start.elapsed().as_secs_f64())?;

    let config = StreamConfig {
        seq_len: 2048,
        rows: 16,
        mix: "code=0.3,math=0.2".parse()?,
        domain_dropout: 0.3,
        domain_token: true,
        seed: 0,
    };
    let mut tokens = 0;
    let start = Instant::now();
    let mut stream = Stream::new(Arc::new(corpus), config, Position::default())?;
    for _ in 0..BATCHES {
        tokens += stream.next_batch()?.ids.len();
    }
    let duration_s = start.elapsed().as_secs_f64();
    report("pack batches", &source, duration_s)?;
    let million_per_s = tokens as f64 / duration_s / 1e6;
    println!("{:>16} {million_per_s:.1} M tokens/s", "");
    Ok(())
}

fn report(job: &str, source: &Source, duration_s: f64) -> Outcome {
    let size_mb = source.size_bytes() as f64 / f64::from(1 << 20);
    let peak_mb = peak_memory_bytes()? as f64 / f64::from(1 << 20);
    println!(
        "{job:>18} {size_mb:7.0} MB: peak {peak_mb:6.0} MB, {duration_s:7.2} s, {:6.1} MB/s",
        size_mb / duration_s
    );
    Ok(())
}

/// `VmHWM`: the peak resident memory of this process.
fn peak_memory_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number
        .ok_or("no VmHWM in /proc/self/status")?
        .parse::<u64>()?
        << 10)
}

/// Documents of about 1 KB with words after Zipf's law, cycling through all domains.
fn write_documents(path: &Path, size_bytes: u64) -> Outcome {
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32
    };
    let syllables = [
        "ka", "ro", "the", "in", "mul", "ta", "es", "qu", "ör", "on", "st", "ve",
    ];
    let mut out = BufWriter::new(File::create(path)?);
    let mut written = 0;
    for domain in Domain::ALL.into_iter().cycle() {
        if written >= size_bytes {
            break;
        }
        let mut text = String::new();
        for _ in 0..50 + random() % 250 {
            // word number, uniform below 2^k with k uniform in 0..18
            let mut word = random() % (1 << (random() % 18));
            loop {
                text.push_str(syllables[word as usize % syllables.len()]);
                word /= syllables.len() as u32;
                if word == 0 {
                    break;
                }
            }
            text.push(if random() % 12 == 0 { '\n' } else { ' ' });
        }
        let line = serde_json::json!({"domain": domain, "text": text}).to_string();
        writeln!(out, "{line}")?;
        written += line.len() as u64 + 1;
    }
    out.flush()?;
    Ok(())
}
