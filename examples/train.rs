//! Trains the `tiny` preset on the embedded corpus, in minutes on two CPU cores.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use darkhorse_backends::memory::keep_freed;
use darkhorse_backends::select;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::run::Job;
use darkhorse_genesis::run::Screen;
use darkhorse_genesis::run::baseline::unigram_loss;
use darkhorse_genesis::selected;
use darkhorse_genesis::telemetry::{EvaluationTable, Record, read_journal};

const USAGE: &str = "Usage: cargo run --release --example train [-- RUN_FOLDER]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // not `println!`, which panics if the output is closed
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
    let cache = folder.with_file_name(".cache");
    let job = Job::create(experiment, &folder, &cache, Progress::Shown)?;
    let run = job.run.clone();
    let unigram = unigram_loss(&job.texts.train, &job.valid_feed())?;

    let begin = Instant::now();
    let trained = selected::train(job, None, &device, Screen::Lines)?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;

    let records = read_journal(run.metrics_path())?;
    if let (Some(evaluation), Some(Record::Eval(initial))) = (&trained.evaluation, records.first())
    {
        write!(out, "\n{}", EvaluationTable(evaluation))?;
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
    for sample in &trained.samples {
        let domain = sample.domain.map_or("", Domain::name);
        writeln!(out, "{domain:>12}: {}", sample.text.replace('\n', " "))?;
    }

    writeln!(out, "\nreport: {}", run.report_path().display())?;
    writeln!(
        out,
        "try it: cargo run --release -- --prompt \"The court held that\""
    )?;
    Ok(())
}
