//! `evaluate`: a model's loss on documents, by domain.

use std::path::PathBuf;

use clap::Args;
use darkhorse_genesis::domain::Domain;

use crate::args::DeviceArgs;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis evaluate --checkpoint runs/mixed --data data/valid.jsonl
  darkhorse-genesis evaluate --checkpoint runs/mixed --data a.jsonl b.parquet --json";

/// Measure a model's loss on documents, by domain
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    /// Run to take the model from; without it the newest one
    #[arg(long, visible_alias = "model", value_name = "RUN")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Files or folders of documents
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// Rows of a batch; without it as in training
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// Count and report lines that cannot be read instead of stopping at the first
    #[arg(long)]
    pub(crate) skip_bad_lines: bool,
    /// Take documents of an unknown domain as of this one
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) unknown_domain: Option<Domain>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &EvaluateArgs) -> Result<(), Failure> {
    evaluate(args)
}

/// Evaluates what was resolved.
fn evaluate(_args: &EvaluateArgs) -> Result<(), Failure> {
    Err(anyhow::anyhow!("`evaluate` is not wired yet").into())
}
