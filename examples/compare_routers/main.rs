//! Comparison of routers: `cargo run --release --example compare_routers -- --help`.
//!
//! `families` trains three mixtures with equal active parameters, in the manner of Mixtral, DeepSeek and Genesis;
//! `balance` trains one model under every balancing rule; `null` compares one with and without null experts, `codons`
//! one with and without codons. All read the same text in the same order, with equal seeds. A run is an ordinary
//! run's folder: finished ones are only read, interrupted ones are resumed.

mod arms;
mod figures;
mod picture;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use darkhorse_backends::{memory::keep_freed, select};
use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::PRESETS;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::run::Job;
use darkhorse_genesis::run::RunError;
use darkhorse_genesis::run::Screen;
use darkhorse_genesis::selected;
use darkhorse_genesis::telemetry::{Record, StepRecord, read_journal};

use arms::Arm;

/// Train models with different routers and print a table in Markdown
#[derive(Debug, Parser)]
struct Args {
    /// Comparison to make
    #[arg(value_enum)]
    protocol: Protocol,
    /// Folder of the runs and of the picture; finished runs are not repeated
    #[arg(long, value_name = "FOLDER", default_value = "runs/routers")]
    out: PathBuf,
    /// Optimizer steps per run [default: 500 for families and codons, 300 for the others]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(60..))]
    steps: Option<u64>,
    /// Runs per experiment, with seeds from 0 [default: 5 for balance, 3 for the others]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Model of `balance`
    #[arg(long, value_name = "PRESET", value_parser = clap::builder::PossibleValuesParser::new(PRESETS), default_value = "tiny")]
    params: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// mixtral-tiny, deepseek-tiny, genesis-moe-tiny
    Families,
    /// Sign rule, quantiles with three smoothings, auxiliary loss
    Balance,
    /// Four experts per token, and a mean of three with null experts
    Null,
    /// deepseek-tiny without codons, with soft and with hard codons
    Codons,
}

/// Results of a run.
#[derive(Debug)]
struct Outcome {
    steps: Vec<StepRecord>,
    /// Loss on the whole validation text after the last step.
    loss: Option<f64>,
}

/// Trains the remaining steps of a run, and reads its results.
fn outcome(arm: &Arm, seed: u64, out: &Path) -> Result<Outcome, Box<dyn Error>> {
    let folder = out.join(format!("{}-{seed}", arm.name));
    let mut experiment = arm.experiment.clone();
    experiment.training.seed = seed;
    let (last, cache) = (experiment.training.steps, out.join(".cache"));
    let job = if folder.exists() {
        Job::resume(experiment, Run::open(&folder)?, &cache, Progress::Hidden)
    } else {
        Job::create(experiment, &folder, &cache, Progress::Hidden)
    };
    match job {
        Err(RunError::Finished { .. }) => {}
        job => {
            writeln!(io::stderr(), "training {}", folder.display())?;
            selected::train(job?, None, &select::default_device(), Screen::Nothing)?;
        }
    }
    let records = read_journal(Run::open(&folder)?.metrics_path())?;
    let loss = records.iter().rev().find_map(|record| match record {
        Record::Eval(found) if found.step == last && found.is_measured() => Some(found.loss),
        _ => None,
    });
    let steps = records.into_iter().filter_map(|record| match record {
        Record::Step(step) => Some(step),
        _ => None,
    });
    let steps = steps.collect();
    Ok(Outcome { steps, loss })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    keep_freed();
    let (arms, columns, seeds) = match args.protocol {
        Protocol::Families => {
            let steps = args.steps.unwrap_or(500);
            (arms::families(steps)?, figures::of_families(steps), 3)
        }
        Protocol::Balance => {
            let steps = args.steps.unwrap_or(300);
            let arms = arms::rules(&args.params, steps)?;
            (arms, figures::of_balance(steps), 5)
        }
        Protocol::Null => {
            let steps = args.steps.unwrap_or(300);
            (arms::null_experts(steps)?, figures::of_families(steps), 3)
        }
        Protocol::Codons => {
            let steps = args.steps.unwrap_or(500);
            (arms::codons(steps)?, figures::of_families(steps), 3)
        }
    };
    let mut rows = Vec::new();
    for arm in arms {
        let seeds = 0..args.seeds.unwrap_or(seeds);
        let runs = seeds.map(|seed| outcome(&arm, seed, &args.out));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        rows.push((arm.name, runs));
    }
    let name = args.protocol.to_possible_value();
    let name = name.as_ref().map_or("", |value| value.get_name());
    let picture = args.out.join(format!("{name}.svg"));
    std::fs::write(&picture, picture::draw(&rows))?;
    write!(io::stdout(), "{}", figures::table(&columns, &rows))?;
    writeln!(io::stderr(), "picture: {}", picture.display())?;
    Ok(())
}
