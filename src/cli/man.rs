//! `man`: manual pages of the program and its commands.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis man | man -l -
  darkhorse-genesis man ~/.local/share/man/man1
  man darkhorse-genesis-train";

/// Print the manual page, or write a page for each command into a folder
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// Folder for one page per command, created if needed; without it, the program's page is printed
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn execute(args: &ManArgs) -> Result<(), Failure> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        Output::open().write_all(&page)?;
        return Ok(());
    };
    if folder.exists() && !folder.is_dir() {
        return Err(Failure::input(format!(
            "{} is a file, expected a folder",
            folder.display()
        )));
    }
    let write = || {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Cli::command(), folder)
    };
    let refused = |error: io::Error| Failure::input(format!("{}: {error}", folder.display()));
    write().map_err(refused)
}
