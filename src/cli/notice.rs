//! Notices on the standard error output, one line each; none with `--quiet`.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::Progress;
use clap::Args;
use indicatif::ProgressBar;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Verbosity of the program.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NoticeArgs {
    /// Print only results and errors
    #[arg(long, global = true)]
    quiet: bool,
}

impl NoticeArgs {
    /// Applies the setting to the process.
    pub(crate) fn apply(self) {
        QUIET.store(self.quiet, Ordering::Relaxed);
    }
}

/// Whether only errors are shown.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether progress bars are shown.
pub(crate) fn progress() -> Progress {
    if is_quiet() {
        Progress::Hidden
    } else {
        Progress::Shown
    }
}

/// A progress bar over `parts`, on the standard error output if that is a terminal; hidden with `--quiet`.
pub(crate) fn bar(parts: u64) -> ProgressBar {
    match progress() {
        Progress::Shown => ProgressBar::new(parts),
        Progress::Hidden => ProgressBar::hidden(),
    }
}

/// Prints a notice, unless `--quiet` is given.
pub(crate) fn tell(line: impl Display) {
    if !is_quiet() {
        eprintln!("{line}");
    }
}
