//! The command-line program `darkhorse-genesis`, one file per command.
//!
//! It is part of the library so that code shared with the examples is compiled once.
//!
//! Results are written through `output`: a closed or full standard output is an error and never a panic.

#![warn(clippy::print_stdout)]

/// Prints to the standard error output without the standard library's panic if that is closed or full, as in `train
/// 2>&1 | head`.
macro_rules! eprint {
    ($($said:tt)*) => { $crate::cli::output::error(format_args!($($said)*)) };
}

/// [`eprint`] with a line end.
macro_rules! eprintln {
    () => { eprint!("\n") };
    ($($said:tt)*) => { eprint!("{}\n", format_args!($($said)*)) };
}

mod aligned;
mod args;
mod batch_aware;
mod bench;
mod calibrate;
mod chat;
mod completions;
mod dashboard;
mod device;
mod dtype;
mod evaluate;
mod export;
mod failure;
mod generate;
#[cfg(test)]
mod hostile;
mod import;
mod inference;
mod interrupt;
mod logging;
mod logits;
mod lora;
mod man;
mod model;
mod model_args;
mod newest;
mod notice;
mod output;
mod plan;
mod prune;
mod quantize;
mod render;
mod request_routes;
mod retrofit;
mod routes;
mod serve;
mod stored;
mod tasks;
mod text;
mod tokenize;
mod tokenizer_source;
mod train;
mod weights;
mod whole_file;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Name of the program.
const NAME: &str = "darkhorse-genesis";

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis train --params tiny
  darkhorse-genesis --prompt \"Explain the laws of thermodynamics.\"
  darkhorse-genesis plan --params 5b --memory 24GB

`darkhorse-genesis COMMAND --help` shows more. Exit codes: 0 done, 2 bad arguments or input, 1 any other failure, \
130 stopped by Ctrl-C, 143 by SIGTERM. RUST_LOG sets which messages of the library are shown, as in RUST_LOG=info; \
without it warnings.";

/// Trains and runs Mixture-of-Experts language models.
///
/// With `--prompt` and no command: inference with the newest run.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    notice: notice::NoticeArgs,
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
    #[command(visible_alias = "expert-subset")]
    Prune(prune::PruneArgs),
    Retrofit(retrofit::RetrofitArgs),
    Calibrate(calibrate::CalibrateArgs),
    Render(render::RenderArgs),
    Routes(routes::RoutesArgs),
    Serve(Box<serve::ServeArgs>),
    Dashboard(dashboard::DashboardArgs),
    Plan(plan::PlanArgs),
    Bench(bench::BenchArgs),
    BenchEnergy(bench::energy::BenchEnergyArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Whether the arguments have a prompt and no command, which means inference.
fn is_bare_prompt(arguments: &[OsString]) -> bool {
    let arguments: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    // global options may precede the command
    let mut own = arguments.iter().skip(1).skip_while(|it| *it == "--quiet");
    let begins_with_option = own.next().is_some_and(|first| first.starts_with('-'));
    let is_prompt = |argument: &str| argument == "--prompt" || argument.starts_with("--prompt=");
    begins_with_option && arguments.iter().any(|it| is_prompt(it))
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    failure::catch(|| {
        let mut arguments: Vec<_> = std::env::args_os().collect();
        if is_bare_prompt(&arguments) {
            arguments.insert(1, "inference".into());
        }
        let Some(cli) = failure::parse::<Cli>(arguments)? else {
            return Ok(());
        };
        cli.notice.apply();
        logging::listen()?;
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
            Command::Prune(args) => prune::execute(&args),
            Command::Retrofit(args) => retrofit::execute(&args),
            Command::Calibrate(args) => calibrate::execute(&args),
            Command::Render(args) => render::execute(&args),
            Command::Routes(args) => routes::execute(&args),
            Command::Serve(args) => serve::execute(&args),
            Command::Dashboard(args) => dashboard::execute(&args),
            Command::Plan(args) => plan::execute(&args),
            Command::Bench(args) => bench::execute(&args),
            Command::BenchEnergy(args) => bench::energy::execute(&args),
            Command::Completions(args) => completions::execute(&args),
            Command::Man(args) => man::execute(&args),
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory};

    use super::*;

    /// Options without a default value, because they replace another input.
    const WITHOUT_DEFAULT: [&str; 8] = [
        "config",
        "epochs",
        "folder",
        "ids",
        "init_from",
        "prompt",
        "train_tokenizer",
        "valid",
    ];

    #[test]
    fn the_help_of_every_option_says_what_holds_without_it() {
        let says = |argument: &Arg| {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let is_told = help.contains("[default: ") || help.contains("unless");
            is_told || !argument.get_default_values().is_empty()
        };
        let mut silent = Vec::new();
        for command in Cli::command().get_subcommands() {
            let options = command.get_arguments();
            let options = options.filter(|it| it.get_action().takes_values());
            for option in options.filter(|it| !it.is_required_set() && !says(it)) {
                let id = option.get_id().as_str();
                if !WITHOUT_DEFAULT.contains(&id) {
                    silent.push(format!("{} {id}", command.get_name()));
                }
            }
        }
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn a_prompt_without_a_command_is_for_inference() {
        let is_bare = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            is_bare_prompt(&arguments)
        };
        for bare in [
            "x --prompt a",
            "x --seed 1 --prompt=a",
            "x --quiet --prompt a",
        ] {
            assert!(is_bare(bare), "{bare}");
        }
        for not in [
            "x bench --prompt 1",
            "x --quiet bench --prompt 1",
            "x --help",
            "x --quiet",
        ] {
            assert!(!is_bare(not), "{not}");
        }
    }
}
