//! Export as an archive for libtorch.

use crate::interop::hugging_face::HfConfig;
use crate::interop::{Outgoing, ot};

use super::{ExportArgs, config_and_tokenizer};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::stored::Stored;

/// Writes the archive, with the files beside it that are needed to read it back.
pub(super) fn write(
    args: &ExportArgs,
    stored: &Stored,
    config: &HfConfig,
    tensors: &Outgoing<'_>,
) -> Result<(), Failure> {
    let files = config_and_tokenizer(stored, config)?;
    ot::write(&args.out, tensors, &files).or_input()?;
    output::line(format_args!(
        "{}: load it by `darkhorse-genesis inference --model {0} --prompt ...`, or by tch's `Tensor::load_multi`",
        args.out.display()
    ))
}
