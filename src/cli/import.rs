//! `import`: turns a model of another format into a run.

use std::path::PathBuf;

use crate::checkpoint::Run;
use crate::model::weights::NamedTensor;
use clap::Args;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model_args::AdapterArgs;
use crate::cli::output;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis import --from ./Mixtral-small --out runs/mixtral
  darkhorse-genesis import --from model.gguf --out runs/model
  darkhorse-genesis import --from ./Llama-small --adapter ./lora --out runs/tuned

Weights keep their type; they are read one at a time, so that memory does not limit their size.";

/// Turn a Hugging Face folder, a .safetensors, .ot or .gguf file into a run
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Model to read
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Folder of the run to write
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn execute(args: &ImportArgs) -> Result<(), Failure> {
    Run::check_new(&args.out).or_input()?;
    let stored = args.adapter.open(&args.from)?;
    stored.tokenizer.readable()?;
    let names = stored.weights.names().into_iter();
    let tensors = names.map(|name| NamedTensor::of(stored.weights.as_ref(), &name));
    let tensors = tensors.collect::<Result<Vec<_>, _>>().or_input()?;
    let count = tensors.len();
    stored.tell_blocks("f32", None);
    stored.write_run(&args.out, &stored.experiment, tensors)?;
    output::line(format_args!(
        "{count} tensors from {} to {}: continue a prompt by `darkhorse-genesis inference --model {1} --prompt ...`",
        args.from.display(),
        args.out.display()
    ))
}
