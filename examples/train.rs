//! Trains the `tiny` preset on the embedded corpus, in minutes on two CPU cores.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use burn::backend::Autodiff;
use darkhorse_backends::memory::keep_freed;
use darkhorse_backends::select::{self, Selected};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::telemetry::{EvaluationTable, Record, read_journal};
use darkhorse_genesis::training::baseline::unigram_loss;
use darkhorse_genesis::training::job::{Job, Screen};

const USAGE: &str = "Usage: cargo run --release --example train [-- RUN_FOLDER]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // not `println!`, which panics where nobody reads on
    let mut out = io::stdout();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let folder = match std::env::args().nth(1) {
        Some(option) if option.starts_with('-') => {
            writeln!(
                out,
                "{USAGE}\n\nOther models and texts: cargo run --release -- train --help"
            )?;
            return Ok(());
        }
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(format!("runs/tiny-{}", now.as_secs())),
    };
    keep_freed();
    let device = select::default_device();
    writeln!(out, "{}", select::notice(&device))?;

    let experiment = Experiment::preset("tiny")?;
    let limits = Limits::of(&experiment.model);
    let cache = folder.with_file_name(".cache");
    let job = Job::create(experiment, &folder, &cache, Progress::Shown)?;
    let (run, tokenizer) = (job.run.clone(), job.tokenizer.clone());
    let unigram = unigram_loss(&job.train, &job.valid_feed())?;

    let begin = Instant::now();
    let trained = job.train::<Autodiff<Selected>>(&device, Screen::Lines)?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;

    let Some(evaluation) = &trained.evaluation else {
        return Ok(());
    };
    write!(out, "\n{}", EvaluationTable(evaluation))?;
    let records = read_journal(run.metrics_path())?;
    if let Some(Record::Eval(initial)) = records.first() {
        writeln!(
            out,
            "\ntrained for {minutes:.1} minutes: valid loss {:.3} nats/token, {:.0} % of the initial {:.3}, \
             {:.3} below a unigram model",
            evaluation.loss,
            100.0 * evaluation.loss / initial.loss,
            initial.loss,
            unigram - evaluation.loss,
        )?;
    }

    writeln!(out, "\nA sample per domain:")?;
    for domain in Domain::ALL {
        let mut generation = Generation::new(&trained.model, limits, Some(domain));
        let sampler = Sampler::new(SamplingConfig::default())?;
        generation.read(&tokenizer.opening(Some(domain)))?;
        let mut sample = Vec::new();
        while let Some(id) = generation.next_token(&sampler)
            && sample.len() < 48
            && Some(id) != tokenizer.eos_id()
        {
            sample.push(id);
        }
        let text = tokenizer.decode(&sample).replace('\n', " ");
        writeln!(out, "{domain:>12}: {}", text.trim())?;
    }

    writeln!(out, "\nreport: {}", run.report_path().display())?;
    writeln!(
        out,
        "try it: cargo run --release -- --prompt \"The court held that\""
    )?;
    Ok(())
}
