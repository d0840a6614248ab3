//! The program `darkhorse-genesis`: a file per command.
//!
//! It stands in the library, so that what the program and the examples compile is compiled once.

mod args;
mod bench;
mod chat;
mod device;
mod evaluate;
mod export;
mod failure;
mod generate;
#[cfg(test)]
mod hostile;
mod import;
mod inference;
mod logits;
mod model;
mod plan;
mod quantize;
mod render;
mod stored;
mod tokenize;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis train --params tiny
  darkhorse-genesis --prompt \"Explain the laws of thermodynamics.\"
  darkhorse-genesis plan --params 5b --memory 24GB

`darkhorse-genesis COMMAND --help` shows more. Exit codes: 0 done, 2 bad arguments or input, 1 any other failure,
130 stopped by Ctrl-C, 143 by SIGTERM.";

/// Trains and runs Mixture-of-Experts language models.
///
/// With `--prompt` and no command: inference with the newest run.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Inference(Box<inference::InferenceArgs>),
    Chat(chat::ChatArgs),
    Evaluate(evaluate::EvaluateArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Logits(logits::LogitsArgs),
    Tokenize(tokenize::TokenizeArgs),
    Quantize(quantize::QuantizeArgs),
    Render(render::RenderArgs),
    Plan(plan::PlanArgs),
    Bench(bench::BenchArgs),
}

/// Whether there is a prompt and no command: then inference is meant.
fn is_bare_prompt(arguments: &[OsString]) -> bool {
    let is_prompt = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        argument == "--prompt" || argument.starts_with("--prompt=")
    };
    let begins_with_option = arguments
        .get(1)
        .is_some_and(|first| first.to_string_lossy().starts_with('-'));
    begins_with_option && arguments.iter().any(is_prompt)
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    failure::catch(|| {
        let mut arguments: Vec<_> = std::env::args_os().collect();
        if is_bare_prompt(&arguments) {
            arguments.insert(1, "inference".into());
        }
        let Some(cli) = failure::parse::<Cli>(arguments)? else {
            return Ok(());
        };
        match cli.command {
            Command::Train(args) => train::execute(&args),
            Command::Inference(args) => inference::execute(&args),
            Command::Chat(args) => chat::execute(&args),
            Command::Evaluate(args) => evaluate::execute(&args),
            Command::Export(args) => export::execute(&args),
            Command::Import(args) => import::execute(&args),
            Command::Logits(args) => logits::execute(&args),
            Command::Tokenize(args) => tokenize::execute(&args),
            Command::Quantize(args) => quantize::execute(&args),
            Command::Render(args) => render::execute(&args),
            Command::Plan(args) => plan::execute(&args),
            Command::Bench(args) => bench::execute(&args),
        }
    })
}
