//! Trains the `tiny` preset on the embedded corpus: `cargo run --release --example train [-- RUN_FOLDER]`.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use burn::backend::Autodiff;
use burn::prelude::Backend;
use darkhorse_backends::select::{self, Selected};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::{Progress, Tags};
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::telemetry::{EvalRecord, Record, read_journal};
use darkhorse_genesis::training::baseline::unigram_loss;
use darkhorse_genesis::training::job::{Job, Screen};

type Device = <Selected as Backend>::Device;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from("runs").join(format!("tiny-{}", seconds_since_1970()?)),
    };
    let device = Device::default();
    println!("training on {}", select::name());

    let experiment = Experiment::preset("tiny")?;
    let limits = Limits::of(&experiment.model);
    let job = Job::create(experiment, &folder, "runs/.cache".as_ref(), Progress::Shown)?;
    let (run, tokenizer) = (job.run.clone(), job.tokenizer.clone());
    let unigram = unigram_loss(&job.train, &job.valid_feed())?;

    let begin = Instant::now();
    let trained = job.train::<Autodiff<Selected>>(&device, Screen::Lines)?;
    let seconds = begin.elapsed().as_secs_f64();

    let records = read_journal(run.metrics_path())?;
    let initial = records.iter().find_map(|record| match record {
        Record::Eval(evaluation) => Some(evaluation.loss),
        Record::Step(_) => None,
    });
    summarize(&trained.evaluation, initial.unwrap_or(f64::NAN), unigram, seconds);

    for domain in Domain::ALL {
        let opening = trained.opening(domain)?;
        let mut generation = Generation::new(&trained.model, limits, Some(domain));
        let mut sampler = Sampler::new(SamplingConfig::default())?;
        generation.read(&opening)?;
        let mut sample = Vec::new();
        while sample.len() < 40 {
            match generation.next_token(&mut sampler) {
                Some(id) if Some(id) != tokenizer.eos_id() => sample.push(id),
                _ => break,
            }
        }
        let text = tokenizer.decode(&sample).replace('\n', " ");
        println!("{domain:>12}: {text}");
    }
    println!("\nreport:    {}", run.report_path().display());
    println!("try it:    cargo run --release -- --prompt \"The court held that\"");
    Ok(())
}
