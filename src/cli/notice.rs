//! What the program says beside its results: one line each on the standard error output, or none with `--quiet`.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::Progress;
use clap::Args;
use indicatif::ProgressBar;

static QUIET: AtomicBool = AtomicBool::new(false);

/// How much is said.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NoticeArgs {
    /// Say nothing beside results and errors
    #[arg(long, global = true)]
    quiet: bool,
}

impl NoticeArgs {
    /// Holds for the rest of the process.
    pub(crate) fn apply(self) {
        QUIET.store(self.quiet, Ordering::Relaxed);
    }
}

/// Whether only errors are to be shown.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether bars of progress are shown.
pub(crate) fn progress() -> Progress {
    if is_quiet() {
        Progress::Hidden
    } else {
        Progress::Shown
    }
}

/// A bar of so many parts on the standard error output, if that is a terminal; hidden with `--quiet`.
pub(crate) fn bar(parts: u64) -> ProgressBar {
    match progress() {
        Progress::Shown => ProgressBar::new(parts),
        Progress::Hidden => ProgressBar::hidden(),
    }
}

/// Says a line.
pub(crate) fn tell(line: impl Display) {
    if !is_quiet() {
        eprintln!("{line}");
    }
}
