//! Puts load on servers with OpenAI's interface: throughput side by side, and a long run with clients that misbehave.

mod completion;
mod http;
mod prompts;
mod soak;
mod summary;
mod throughput;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    about,
    after_help = "Examples:
  darkhorse-load throughput --url http://127.0.0.1:8000 --streams 1,8,32
  darkhorse-load throughput --url http://127.0.0.1:8000 --url http://127.0.0.1:8080 --rounds 5
  darkhorse-load soak --url http://127.0.0.1:8000 --pid 1234 --streams 500 --minutes 10"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tokens per second and time to the first token at several numbers of streams
    Throughput(throughput::Options),
    /// Many streams with slow readers and random disconnects; every text is compared with that of the request alone
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Throughput(options) => throughput::run(&options),
        Command::Soak(options) => soak::run(&options),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
