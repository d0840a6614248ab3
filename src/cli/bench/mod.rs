//! `bench`: how fast a model reads and writes, against what the machine's memory allows.

mod bandwidth;
mod figures;
mod measure;

use std::path::PathBuf;

use crate::config::memory::Purpose;
use crate::model::cost::Dtype;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::{CacheArgs, DeviceArgs, ExperimentArgs, WeightsArgs};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::inference::Weights;
use crate::cli::model::Loaded;
use crate::cli::notice;
use crate::cli::output;
use figures::{Figures, Report};
use measure::Case;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis bench --model runs/mixed
  darkhorse-genesis bench --params 5b --random-weights --weights q8 --prompt 128,1024 --batch 1,8
  darkhorse-genesis bench --model runs/mixed --prompt 128,4096 --batch 1,8,64 --cache-dtype q8
  darkhorse-genesis bench --model ./DeepSeek-small --prompt 128 --new 64 --runs 5 --json";

/// Measure prefill and decode: tokens per second, time to the first token, bytes of cache, share of the bandwidth
///
/// Every request of a batch has a prompt of its own, made of ids 2 + (7919 i + 13 + 101 r) mod (vocabulary - 2) for
/// position i of request r. Figures are medians over the runs; one more run before them is not counted.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Model: a run, a Hugging Face folder, a .safetensors or a .gguf file [default: the newest run]
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    model: Option<PathBuf>,
    /// Measure an untrained model of --params or --config
    #[arg(long, conflicts_with = "model")]
    random_weights: bool,
    /// Tokens of a prompt; several numbers, with commas, are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "128",
          value_parser = clap::value_parser!(u32).range(1..))]
    prompt: Vec<u32>,
    /// Tokens that each request generates
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    new: u32,
    /// Requests at a time; several numbers likewise
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    /// Runs that are counted
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print JSON, with the ids that were generated first
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    fn source(&self) -> Result<Weights, Failure> {
        if let Some(path) = &self.model {
            return Ok(Weights::Stored(path.clone()));
        }
        if self.random_weights {
            return Ok(Weights::Random(Box::new(self.experiment.load()?)));
        }
        let named = self.experiment.params.is_some() || self.experiment.config.is_some();
        Ok(Weights::Newest(named.then(|| self.experiment.name())))
    }
}

/// Runs the command.
pub(crate) fn execute(args: &BenchArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    let weights = args.source()?;
    let quantization = args.weights.quantization();
    let longest = args
        .prompt
        .iter()
        .max()
        .map_or(0, |&prompt| prompt as usize)
        + args.new as usize;
    if let Weights::Random(experiment) = &weights {
        let purpose = Purpose::Inference {
            weights: Dtype::held_as(quantization),
            cache: args.cache.dtype().unwrap_or(Dtype::F32),
            context: longest,
        };
        device::refuse_what_cannot_fit(&experiment.model, purpose, args.device.device.as_ref())?;
    }
    let loaded = Loaded::open(weights, quantization, &args.device.open()?)?;
    let context = loaded.experiment.model.max_position_embeddings;
    if longest > context {
        return Err(Failure::input(format!(
            "prompt and new tokens are {longest} together, but the model's context is {context}: shorten them"
        )));
    }
    let bandwidth = bandwidth::of_device(&loaded.device());
    let mut report = Report::new(&loaded, bandwidth);
    let runs = args.runs as usize;
    let bar = bar((args.prompt.len() * args.batch.len() * (runs + 1)) as u64);
    for &prompt in &args.prompt {
        for &batch in &args.batch {
            let case = Case {
                prompt: prompt as usize,
                new: args.new as usize,
                batch: batch as usize,
            };
            bar.set_message(format!("{batch} x {prompt} tokens"));
            let runs = measure::runs(&loaded, case, args.cache, runs, &bar)?;
            let figures = Figures::of(&loaded.experiment.model, case, args.cache, &runs, bandwidth);
            match args.json {
                true => report.cases.push(figures),
                false => bar.suspend(|| report.line(&figures))?,
            }
        }
    }
    bar.finish_and_clear();
    if args.json {
        output::line(serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// Runs that are done, on a terminal.
fn bar(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} run {pos} of {len}, {msg}, {elapsed}");
    notice::bar(runs).with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
