//! `quantize`: writes a run with weights in blocks of 8 or 4 bits.

use std::path::PathBuf;

use crate::checkpoint::Run;
use crate::config::memory::Bytes;
use crate::model::CausalLm;
use crate::model::dtype::Dtype;
use crate::model::matrix::Quantization;
use crate::model::weights::{InBlocks, NamedTensor, WeightSource};
use clap::Args;
use darkhorse_backends::select::Selected;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model_args::ModelArgs;
use crate::cli::output;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis quantize --model runs/mixed --bits 8 --out runs/mixed-q8
  darkhorse-genesis quantize --model ./DeepSeek-small --bits 4 --out runs/small-q4

Weights are read one at a time. `--weights q8` of inference, chat, evaluate and bench rounds without writing anything.";

/// Round the weights of projections and experts to blocks of 8 or 4 bits
///
/// A block holds 32 neighbouring values and a 16-bit scale. Embeddings, norms and routers stay unchanged. The result
/// is a run that can be used, but not trained.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QuantizeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Bits per value: 8 or 4
    #[arg(long, value_name = "N", value_parser = bits)]
    bits: Quantization,
    /// Folder of the run to write
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

fn bits(text: &str) -> Result<Quantization, String> {
    match text {
        "8" => Ok(Quantization::Q8),
        "4" => Ok(Quantization::Q4),
        _ => Err("expected 8 or 4".into()),
    }
}

/// Runs the command.
pub(crate) fn execute(args: &QuantizeArgs) -> Result<(), Failure> {
    Run::check_new(&args.out).or_input()?;
    let stored = args.model.open()?;
    stored.refuse_blocks("quantized")?;
    let mut experiment = stored.experiment.clone();
    let before = experiment.model.weight_bytes(Dtype::F32);
    experiment.model.quantization = Some(args.bits);
    experiment.model.validate().or_input()?;
    let module = CausalLm::<Selected>::init(&experiment.model, 0, &Default::default());
    let source = InBlocks::new(stored.weights.as_ref(), &module, args.bits.bits());
    let names = source.names().into_iter();
    let tensors = names.map(|name| NamedTensor::of(&source, &name));
    let tensors = tensors.collect::<Result<Vec<_>, _>>().or_input()?;
    let held = Dtype::held_as(Some(args.bits));
    stored.tell_blocks("f32", Some(held));
    stored.write_run(&args.out, &experiment, tensors)?;
    let after = experiment.model.weight_bytes(held);
    output::line(format_args!(
        "{}: {} of weights, {} as f32; use it by `darkhorse-genesis inference --model {0} --prompt ...`",
        args.out.display(),
        Bytes(after),
        Bytes(before)
    ))
}
