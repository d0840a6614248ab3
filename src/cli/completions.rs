//! `completions`: scripts for shells that complete commands, options and values.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Cli, NAME};

const EXAMPLES: &str = "\
Examples:
  bash    darkhorse-genesis completions bash \\
          > ~/.local/share/bash-completion/completions/darkhorse-genesis
  zsh     darkhorse-genesis completions zsh > ~/.zfunc/_darkhorse-genesis
          with, in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit
  fish    darkhorse-genesis completions fish > ~/.config/fish/completions/darkhorse-genesis.fish

A new shell takes them up; make the folder first if there is none.";

/// Print a script that lets a shell complete commands and options
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn execute(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    Output::open().write_all(&script)?;
    Ok(())
}
