//! Export of a run's adapters in PEFT's format.

use crate::interop::hugging_face::{Adapters, HfConfig};
use crate::interop::{Outgoing, OutgoingOptions};

use super::ExportArgs;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::stored::Stored;

/// Writes the adapter's folder.
pub(super) fn write(args: &ExportArgs, stored: &Stored, config: &HfConfig) -> Result<(), Failure> {
    let Some(adapters) = &stored.adapters else {
        return Err(Failure::input(format!(
            "{} has no adapters: `--format peft` is for a run that was trained with `--lora-rank`",
            stored.weights.path().display()
        )));
    };
    if args.domain.is_some() || args.dtype.is_some() {
        return Err(Failure::input(
            "`--format peft` writes the trained factors in f32: leave `--dtype` and `--domain` out",
        ));
    }
    let options = OutgoingOptions::default();
    let merged = Outgoing::new(stored.weights.as_ref(), config, options).or_input()?;
    let written = Adapters {
        config,
        lora: &adapters.lora,
        merged: &merged,
    };
    written
        .write(&args.out, adapters.weights.as_ref())
        .or_input()?;
    output::line(format_args!(
        "{}: use it by `--model BASE --adapter {0}`, or by PEFT's PeftModel.from_pretrained(base, \"{0}\")",
        args.out.display()
    ))
}
