//! Trains a small model on a text of your own: `cargo run --release --example train_on_text -- FILE [STEPS]`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use darkhorse_genesis::backends::select::default_device;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::run::{Job, Screen};
use darkhorse_genesis::selected;

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .ok_or("usage: train_on_text FILE [STEPS]")?;
    let mut experiment = Experiment::preset("tiny")?;
    experiment.data.train = vec![file.into()];
    if let Some(steps) = arguments.next() {
        experiment.training.steps = steps.parse()?;
    }
    let (run, cache) = (Path::new("runs/mine"), Path::new("runs/.cache"));
    let job = Job::create(experiment, run, cache, Progress::Shown)?;
    let trained = selected::train(job, None, &default_device(), Screen::Lines)?;
    if let Some(evaluation) = trained.evaluation {
        println!("validation loss {:.3} nats/token", evaluation.loss);
    }
    println!("model and report are in {}", run.display());
    Ok(())
}
