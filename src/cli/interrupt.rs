//! Ctrl-C while an answer is written stops the answer; at any other time it ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::failure::{Failure, OrInput};

/// Exit code of a process that Ctrl-C ended, by the custom of shells.
const INTERRUPTED: i32 = 130;

/// Listens for as long as the process lives.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// Set by Ctrl-C, and while there is nothing to stop: a Ctrl-C that finds it set ends the program.
    is_asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let is_asked = Arc::new(AtomicBool::new(true));
        on_ctrl_c(is_asked.clone())?;
        Ok(Self { is_asked })
    }

    /// Does something that the next Ctrl-C stops, if it looks at [`is_asked`](Self::is_asked).
    pub(crate) fn stops<T>(&self, work: impl FnOnce() -> T) -> T {
        self.is_asked.store(false, Ordering::Relaxed);
        let done = work();
        self.is_asked.store(true, Ordering::Relaxed);
        done
    }

    /// Whether to stop.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

#[cfg(unix)]
fn on_ctrl_c(is_asked: Arc<AtomicBool>) -> Result<(), Failure> {
    use signal_hook::consts::SIGINT;
    use signal_hook::flag;

    // in this order: what is registered first looks at the flag before the other sets it
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, is_asked.clone()).or_input()?;
    flag::register(SIGINT, is_asked).or_input().map(drop)
}

#[cfg(not(unix))]
fn on_ctrl_c(is_asked: Arc<AtomicBool>) -> Result<(), Failure> {
    let heard = move || {
        if is_asked.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(heard).or_input()
}
