//! Trains a small model on a text of your own: `cargo run --release --example train_on_text -- FILE [STEPS]`.

use std::error::Error;
use std::path::Path;

use darkhorse_genesis::backends::select::default_device;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::run::{Job, Screen};
use darkhorse_genesis::selected;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        return Err("usage: cargo run --release --example train_on_text -- FILE [STEPS]".into());
    };
    let mut experiment = Experiment::preset("tiny")?;
    experiment.data.train = vec![file.into()];
    if let Some(steps) = arguments.next() {
        experiment.training.steps = steps.parse()?;
    }
    let (run, cache) = (Path::new("runs/mine"), Path::new("runs/.cache"));
    let job = Job::create(experiment, run, cache, Progress::Shown)?;
    let report = job.run.report_path();
    let trained = selected::train(job, None, &default_device(), Screen::Lines)?;
    if let Some(evaluation) = trained.evaluation {
        println!("validation loss {:.3} nats/token", evaluation.loss);
    }
    println!(
        "the model is in {}, its report in {}",
        run.display(),
        report.display()
    );
    Ok(())
}
