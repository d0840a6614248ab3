//! `darkhorse-genesis`: trains and runs Mixture-of-Experts language models from the command line.

mod args;
mod chat;
mod device;
mod evaluate;
mod failure;
mod generate;
mod inference;
mod model;
mod plan;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

#[cfg(not(any(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "tch"
)))]
compile_error!(
    "the binary needs a backend: build with one of the features flex, wgpu, vulkan, metal, cuda, tch"
);

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis train --params tiny
  darkhorse-genesis --prompt \"Explain the laws of thermodynamics.\"
  darkhorse-genesis plan --params 5b --memory 24GB

`darkhorse-genesis COMMAND --help` shows more. Exit codes: 0 done, 2 bad arguments or input, 1 any other failure.";

/// Trains and runs Mixture-of-Experts language models.
///
/// With `--prompt` and no command: inference with the newest run.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    inference: Option<inference::InferenceArgs>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Inference(Box<inference::InferenceArgs>),
    Chat(chat::ChatArgs),
    Evaluate(evaluate::EvaluateArgs),
    Plan(plan::PlanArgs),
}

fn main() -> ExitCode {
    failure::catch(|| {
        let Some(cli) = failure::parse::<Cli>()? else {
            return Ok(());
        };
        match cli.command {
            Some(Command::Train(args)) => train::execute(&args),
            Some(Command::Inference(args)) => inference::execute(&args),
            Some(Command::Chat(args)) => chat::execute(&args),
            Some(Command::Evaluate(args)) => evaluate::execute(&args),
            Some(Command::Plan(args)) => plan::execute(&args),
            None => match cli.inference {
                Some(args) => inference::execute(&args),
                None => Err(Failure::input("no command, see `darkhorse-genesis --help`")),
            },
        }
    })
}
