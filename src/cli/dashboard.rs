//! `dashboard`: live pages of training runs.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::newest::{RUNS, newest_begun};
use crate::cli::output;
use crate::dashboard::{Dashboard, MOST_RUNS, Watched};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis dashboard
  darkhorse-genesis dashboard runs/mixed
  darkhorse-genesis dashboard runs/alf runs/auxiliary-loss --port 9001";

/// Show training runs in a browser, while they go on and when they have ended
///
/// One run is its report, renewed as its journal grows; several are drawn over each other, each with a page of its own.
/// Nothing is written, and nothing but the local machine is asked. Ctrl-C ends it.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DashboardArgs {
    /// Folders of runs, at most 8 [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Address or name of the interface to listen on; 0.0.0.0: all, for everybody who can reach them
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    port: u16,
}

/// Runs the command.
pub(crate) fn execute(args: &DashboardArgs) -> Result<(), Failure> {
    let runs = match &args.runs[..] {
        [] => vec![newest()?],
        runs => runs.to_vec(),
    };
    if runs.len() > MOST_RUNS {
        return Err(Failure::input(format!(
            "{} runs are named, expected at most {MOST_RUNS}: more lines cannot be told apart",
            runs.len()
        )));
    }
    for (at, run) in runs.iter().enumerate() {
        if runs[..at].contains(run) {
            return Err(Failure::input(format!(
                "`{}` is named twice",
                run.display()
            )));
        }
    }
    let watched = runs.into_iter().map(|path| {
        let name = path.display().to_string();
        Watched::open(path, name).or_input()
    });
    let watched: Vec<Watched> = watched.collect::<Result<_, _>>()?;
    let number = watched.len();
    let dashboard = Dashboard::bind(&args.host, args.port, watched).map_err(|error| {
        let address = format!("{}:{}", args.host, args.port);
        Failure::input(format!("cannot listen on {address}: {error}"))
    })?;
    let what = if number == 1 {
        "the run is"
    } else {
        "the runs are"
    };
    let address = dashboard.address()?;
    // who has closed the output does not read the address
    let _ = output::line(format_args!("{what} shown at http://{address}"));
    Ok(dashboard.run()?)
}

fn newest() -> Result<PathBuf, Failure> {
    let run = newest_begun(RUNS).or_input()?;
    let run = run.ok_or_else(|| {
        Failure::input(format!(
            "no run in `{RUNS}/`: train one with `darkhorse-genesis train`, or name its folder"
        ))
    })?;
    Ok(run.path().to_owned())
}
