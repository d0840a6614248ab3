//! `calibrate`: turns a dense model into one with experts.

mod args;
mod carve;
mod measures;
mod recover;
mod tasks;
mod texts;
mod upcycle;

use std::env;

use crate::checkpoint::Run;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::config::Experiment;
use crate::model::ModelConfig;
use crate::model::weights::{NamedTensor, WeightSource};
use crate::stored::Stored;
use crate::surgery::calibration::Receipt;
use crate::surgery::sparse::{Phases, check_dense, digest};

pub(crate) use args::CalibrateArgs;
use args::Mode;

/// File of the receipt in the run's folder.
const RECEIPT_FILE: &str = "receipt.json";

/// The receipt as a page with pictures.
const PAGE_FILE: &str = "receipt.html";

/// Runs the command.
pub(crate) fn execute(args: &CalibrateArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    Run::check_new(&args.out).or_input()?;
    args.check()?;
    let stored = args.open()?;
    stored.refuse_blocks("given experts")?;
    check_dense(&stored.experiment.model).or_input()?;
    stored.tell_blocks("f32", None);
    match args.mode {
        Mode::Carve => carve::execute(args, &stored),
        Mode::Upcycle | Mode::DropUpcycle => upcycle::execute(args, &stored),
    }
}

/// Writes a run of another configuration and other weights, made from a stored model.
fn write(
    stored: &Stored,
    args: &CalibrateArgs,
    config: &ModelConfig,
    weights: &dyn WeightSource,
) -> Result<(), Failure> {
    let experiment = Experiment {
        model: config.clone(),
        ..stored.experiment.clone()
    };
    let names = weights.names().into_iter();
    let tensors = names.map(|name| NamedTensor::of(weights, &name));
    let tensors = tensors.collect::<Result<Vec<_>, _>>().or_input()?;
    stored.write_run(&args.out, &experiment, tensors)
}

/// Writes the receipt into the run.
fn record(args: &CalibrateArgs, receipt: &Receipt) -> Result<(), Failure> {
    let run = Run::open(&args.out).or_input()?;
    run.write_json(RECEIPT_FILE, receipt).or_input()?;
    let json = serde_json::to_string_pretty(receipt)?;
    let html = receipt.html(&args.out.display().to_string(), &json);
    run.write_page(PAGE_FILE, &html).or_input()
}

/// Writes the receipt into the run, and shows it.
fn conclude(args: &CalibrateArgs, receipt: &Receipt) -> Result<(), Failure> {
    record(args, receipt)?;
    output::text(receipt)?;
    output::line(format_args!(
        "{}: use it by `darkhorse-genesis inference --model {0} --prompt ...`",
        args.out.display()
    ))
}

/// Digest of a model's weights, as a phase of its own.
fn digested(stored: &Stored, phases: &mut Phases) -> Result<String, Failure> {
    phases.run("digest", || digest(stored.weights.as_ref()).or_input())
}

/// The command line, with quotes where a shell needs them.
fn command_line() -> String {
    let plain = |word: &str| {
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_./,:=+@%".contains(letter);
        !word.is_empty() && word.chars().all(is_plain)
    };
    let words = env::args_os().skip(1).map(|word| {
        let word = word.to_string_lossy().into_owned();
        if plain(&word) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    let words: Vec<String> = words.collect();
    format!("{} {}", super::NAME, words.join(" "))
}
