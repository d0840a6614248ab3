//! Export as a checkpoint of the Genesis-152M package.

use crate::interop::genesis;

use super::{ExportArgs, of_safetensors};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::stored::Stored;

/// Writes the checkpoint file.
pub(super) fn write(args: &ExportArgs, stored: &Stored) -> Result<(), Failure> {
    if args.domain.is_some() {
        return Err(Failure::input(
            "`--domain` is for models that route: the Genesis-152M family is dense",
        ));
    }
    let dtype = args.dtype.map(of_safetensors).transpose()?;
    let model = &stored.experiment.model;
    genesis::write(&args.out, stored.weights.as_ref(), model, dtype).or_input()?;
    output::line(format_args!(
        "{}: chat with it by `darkhorse-genesis chat --model {0} --tokenizer tokenizer.json`, or load it by the package's `Genesis`",
        args.out.display()
    ))
}
