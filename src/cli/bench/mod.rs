//! `bench`: speed of prefill and decoding, compared with the memory's bandwidth.

mod alone;
mod bandwidth;
pub(crate) mod energy;
mod figures;
mod measure;
mod pair;
mod subject;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::failure::Failure;
use crate::cli::notice;
use crate::cli::output;
pub(crate) use alone::speed_of;
use figures::{Figures, Report};
pub(crate) use pair::decoded_per_second;
use subject::Subject;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis bench --model runs/mixed
  darkhorse-genesis bench --params 5b --random-weights --weights q8 --prompt 128,1024 --batch 1,8
  darkhorse-genesis bench --model runs/mixed --prompt 128,4096 --batch 1,8,64 --cache-dtype q8
  darkhorse-genesis bench --model ./DeepSeek-small --prompt 128 --new 64 --runs 5 --json";

/// Measure prefill and decode: tokens per second, time to first token, bytes of cache, share of the memory bandwidth
///
/// Every request of a batch has its own prompt, of ids 2 + (7919 i + 13 + 101 r) mod (vocabulary - 2) for position i
/// of request r. Figures are medians over the runs; one warm-up run before them is not counted.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    subject: Subject,
    /// Number of runs that count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print JSON, with the generated ids of the first request
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &BenchArgs) -> Result<(), Failure> {
    let loaded = args.subject.open()?;
    let bandwidth = bandwidth::of_device(&loaded.device());
    let mut report = Report::new(&loaded, bandwidth);
    let runs = args.runs as usize;
    let cases = args.subject.cases();
    let bar = bar((cases.len() * (runs + 1)) as u64);
    let cache = args.subject.cache;
    for case in cases {
        bar.set_message(format!("{} x {} tokens", case.batch, case.prompt));
        let runs = measure::runs(&loaded, case, cache, runs, &bar)?;
        let figures = Figures::of(&loaded, case, cache, &runs, bandwidth);
        if args.json {
            report.cases.push(figures);
        } else {
            bar.suspend(|| report.line(&figures))?;
        }
    }
    bar.finish_and_clear();
    if args.json {
        output::line(serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// Progress bar over the runs.
fn bar(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} run {pos} of {len}, {msg}, {elapsed}");
    notice::bar(runs).with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
