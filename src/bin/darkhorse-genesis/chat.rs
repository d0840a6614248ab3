//! `chat`: a conversation on the terminal.

use std::path::PathBuf;

use clap::Args;
use darkhorse_genesis::inference::SamplingConfig;

use crate::args::{DeviceArgs, DomainArgs, SamplingArgs};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis chat
  darkhorse-genesis chat --model runs/mixed --domain law
  darkhorse-genesis chat --model ./DeepSeek-V3-small --system \"Answer briefly.\" --temperature 0.6";

/// Talk with a model
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    /// A run, a Hugging Face folder or a safetensors file; without it the newest run
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) domain: DomainArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Let the MTP modules draft tokens for the model to verify
    #[arg(long)]
    pub(crate) speculative: bool,
    /// Tell tokens per second after every answer
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// Runs the command.
pub(crate) fn execute(args: &ChatArgs) -> Result<(), Failure> {
    let sampling = args.sampling.config()?;
    chat(args, sampling)
}

/// Talks with what was resolved.
fn chat(_args: &ChatArgs, _sampling: SamplingConfig) -> Result<(), Failure> {
    Err(anyhow::anyhow!("`chat` is not wired yet").into())
}
