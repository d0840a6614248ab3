//! `bench-energy`: energy per token of prefill and decoding, in joules, with confidence intervals.

mod figures;
mod windows;

use std::thread;
use std::time::Duration;

use clap::Args;
use darkhorse_backends::select;
use indicatif::ProgressBar;

use super::measure::{self, Case};
use super::subject::Subject;
use crate::cli::args::DeviceName;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::notice;
use crate::telemetry::energy::{Idle, Meters, Monitor, Scope};
use figures::{Measured, Report};
use windows::{Repeat, Work};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis bench-energy --model runs/mixed
  darkhorse-genesis bench-energy --params default --random-weights \\
    --batch 1,64 --prompt 512 --new 128
  darkhorse-genesis bench-energy --model runs/mixed --repeats 10 --idle 60 --json";

/// Measure the energy of prefill and decoding: joules per token, with 95 % confidence intervals
///
/// A repeat measures two windows of whole runs: in the first, each request generates one token, in the second --new
/// tokens. The first window gives the prefill; the second, minus the prefill, gives decoding, with N - 1 intervals
/// for N tokens. Repeats of several cases alternate. Net figures exclude the power of the idle machine with the model
/// loaded. Figures that cannot be measured are left out: docs/energy.md.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchEnergyArgs {
    #[command(flatten)]
    subject: Subject,
    /// Shortest length of a window in seconds; counters move in steps of 0.1 s, which is 1 % of 20 s at both ends
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = seconds)]
    window: f64,
    /// Repeats of both windows
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    repeats: u32,
    /// Seconds over which the idle power is measured, at least 10; 0: none, and no net figures
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = idle)]
    idle: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    let is_some = seconds > 0.0 && seconds <= 3600.0;
    is_some
        .then_some(seconds)
        .ok_or_else(|| "expected more than 0 and at most 3600".into())
}

fn idle(text: &str) -> Result<u64, String> {
    let seconds: u64 = text
        .parse()
        .map_err(|_| "expected a whole number".to_owned())?;
    let is_baseline = (Idle::SHORTEST.as_secs()..=3600).contains(&seconds);
    let is_fine = seconds == 0 || is_baseline;
    is_fine
        .then_some(seconds)
        .ok_or_else(|| "expected 0 or 10 to 3600".into())
}

/// The devices whose energy is measured: those of the backend and of `--device`.
fn scope(device: Option<&DeviceName>) -> Scope {
    let kind = device.map_or(select::name(), |device| device.kind.as_str());
    let index = device.and_then(|device| device.index).unwrap_or(0);
    Scope::of_backend(kind, u32::try_from(index).ok())
}

/// Runs the command.
pub(crate) fn execute(args: &BenchEnergyArgs) -> Result<(), Failure> {
    let scope = scope(args.subject.device.device.as_ref());
    let (meters, others) = Meters::of_machine(&scope).or_input()?;
    for other in others.reasons {
        notice::tell(format_args!("not measured: {other}"));
    }
    let monitor = Monitor::start(meters);
    let loaded = args.subject.open()?;
    let cases = args.subject.cases();
    let passes = cases.len() * (args.repeats as usize + 1);
    let bar = super::bar(passes as u64);

    let idle = baseline(&monitor, args.idle, &bar)?;
    for &case in &cases {
        bar.set_message("warm-up");
        run(&loaded, case, args, &bar)?;
        bar.inc(1);
    }
    let mut measured: Vec<Measured> = cases.iter().map(|&case| Measured::new(case)).collect();
    for _ in 0..args.repeats {
        for case in &mut measured {
            bar.set_message(format!("{} x {} tokens", case.case.batch, case.case.prompt));
            let work = |new| run(&loaded, Case { new, ..case.case }, args, &bar);
            let shortest = Duration::from_secs_f64(args.window);
            let repeat = darkhorse_backends::awake(|| {
                Repeat::measure(&monitor, case.case, shortest, idle.as_ref(), work)
            })?;
            case.repeats.push(repeat);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let report = Report::new(&loaded, &monitor, args.window, idle, &measured);
    report.print(args.json)
}

/// Runs the requests of a case once, with the number of new tokens in `case`.
fn run(
    loaded: &Loaded,
    case: Case,
    args: &BenchEnergyArgs,
    bar: &ProgressBar,
) -> Result<Work, Failure> {
    let run = measure::run(loaded, case, args.subject.cache, bar)?;
    Ok(Work {
        generated: run.generated as u64,
    })
}

/// Mean power of the idle machine with the model loaded.
fn baseline(monitor: &Monitor, seconds: u64, bar: &ProgressBar) -> Result<Option<Idle>, Failure> {
    if seconds == 0 {
        return Ok(None);
    }
    bar.set_message("idle power");
    bar.tick();
    let before = monitor.sample();
    thread::sleep(Duration::from_secs(seconds));
    Ok(Some(Idle::of(&monitor.sample().since(&before))?))
}
