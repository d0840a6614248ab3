//! `plan`: cost and memory of a model, from its configuration alone.

mod described;
mod report;
mod table;

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::{CacheArgs, DeviceArgs, ExperimentArgs, memory_bytes};
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::output;
use report::{Memory, MemorySource, Plan, Setting};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis plan --params 5b --memory 12GB
  darkhorse-genesis plan --params 5b --memory 12GB --cache-dtype q8
  darkhorse-genesis plan --params 500b --context 131072 --memory 80GB --devices 64
  darkhorse-genesis plan --config mine.json --json
  darkhorse-genesis plan --model ./Qwen3-30B-A3B/config.json --memory 24GB";

/// Tell what a model costs and where it fits, without building it
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Model of another program or of a run: a folder, its config.json alone, or a .gguf file; weights are not read
    /// [default: the preset or the experiment]
    #[arg(long, value_name = "DIR_OR_CONFIG", conflicts_with_all = ["params", "config"])]
    model: Option<PathBuf>,
    /// Tokens in the cache [default: the model's whole context]
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// Memory of a device, as 12GB or 80GiB [default: the device's own]
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true, value_parser = memory_bytes)]
    memory: Option<u64>,
    /// Number of devices to divide the model among [default: one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    devices: Option<u32>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Rows of a micro-batch in training [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// Tokens per row in training [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seq_len: Option<u32>,
    /// Print JSON, with sizes in bytes
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &PlanArgs) -> Result<(), Failure> {
    let (name, experiment) = match &args.model {
        Some(path) => (path.display().to_string(), described::experiment(path)?),
        None => (args.experiment.name(), args.experiment.load()?),
    };
    let positions = experiment.model.max_position_embeddings;
    let context = args.context.unwrap_or(positions);
    if !(1..=positions).contains(&context) {
        return Err(Failure::input(format!(
            "`--context` is {context}, expected 1 to {positions}, the model's `max_position_embeddings`"
        )));
    }
    let training = &experiment.training;
    let setting = Setting {
        context,
        cache: args.cache.dtype(),
        batch_size: args
            .batch_size
            .map_or(training.batch_size, |rows| rows as usize),
        seq_len: args
            .seq_len
            .map_or(training.seq_len, |tokens| tokens as usize),
        trained: crate::cli::lora::adaptation(&experiment)?.map(|it| it.trained),
        devices: args.devices.map(|devices| devices as usize),
        memory: match args.memory {
            Some(bytes) => Some((bytes, MemorySource::Given)),
            None => device::memory_bytes(args.device.device.as_ref())
                .map(|bytes| (bytes, MemorySource::Device)),
        }
        .map(|(bytes, source)| Memory { bytes, source }),
    };
    let plan = Plan::of(name, &experiment.model, &setting);
    let text = if args.json {
        serde_json::to_string_pretty(&plan)? + "\n"
    } else {
        table::render(&plan)
    };
    output::text(text)
}
