//! Handling of Ctrl-C and termination signals during training.
//!
//! Before a run exists, the first signal ends the process. During a run, the first one requests a stop: the step is
//! finished and saved. The second one ends the process at once, which loses only the steps since the last checkpoint.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::logging;
use crate::run::Screen;
use crate::run::Stop;
use crate::run::dashboard;

/// Exit code after Ctrl-C, by the convention of shells: 128 plus the signal's number.
const INTERRUPTED: u8 = 130;

/// Exit code after SIGTERM.
const TERMINATED: u8 = 143;

/// Time within which a repeated SIGTERM counts as the same: senders that signal a process and its group, such as
/// GNU's `timeout`, signal the process twice.
const ECHO: Duration = Duration::from_secs(1);

/// Handler of signals, shared with a listener that lives as long as the process.
#[derive(Debug, Clone)]
pub(super) struct Signals(Arc<State>);

#[derive(Debug)]
struct State {
    stop: Stop,
    has_begun: AtomicBool,
    says_so: bool,
    /// The signal that requested the stop.
    first: OnceLock<Heard>,
}

/// A received signal.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Exit code of a process that the signal ends.
    code: u8,
    at: Instant,
}

impl Heard {
    /// Whether `other` is the same request, not a second one. Every Ctrl-C counts as its own.
    fn is_heard_again(self, other: Self) -> bool {
        [self.code, other.code] == [TERMINATED; 2] && other.at.duration_since(self.at) < ECHO
    }
}

impl Signals {
    /// Starts listening; `undo` removes what a start has left if the run has not begun.
    pub(super) fn listen(
        screen: Screen,
        undo: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let state = Arc::new(State {
            stop: Stop::default(),
            has_begun: AtomicBool::new(false),
            says_so: screen == Screen::Lines,
            first: OnceLock::new(),
        });
        let heard = state.clone();
        on_signal(move |code| heard.hear(code, &undo))?;
        Ok(Self(state))
    }

    /// Marks the start of the run: from now on there is something to save.
    pub(super) fn run_begins(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    /// The stop request that a signal sets.
    pub(super) fn stop(&self) -> Stop {
        self.0.stop.clone()
    }

    /// Exit code of a run that was stopped.
    pub(super) fn code(&self) -> u8 {
        // without a signal, a key of the dashboard stopped the run
        self.0.first.get().map_or(INTERRUPTED, |first| first.code)
    }
}

impl State {
    fn hear(&self, code: u8, undo: &impl Fn()) {
        if !self.has_begun.load(Ordering::Relaxed) {
            undo();
            tell("stopped before the run began");
            std::process::exit(code.into());
        }
        let heard = Heard {
            code,
            at: Instant::now(),
        };
        let first = *self.first.get_or_init(|| heard);
        if self.stop.is_asked() {
            if first.is_heard_again(heard) {
                return;
            }
            dashboard::restore_terminal();
            logging::show_held_back();
            tell("stopped at once, without saving");
            std::process::exit(code.into());
        }
        self.stop.ask();
        if self.says_so {
            tell("stopping after this step; again: at once, without saving");
        }
    }
}

/// Prints a line and ignores failures, since the terminal may be gone.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(unix)]
fn on_signal(heard: impl Fn(u8) + Send + 'static) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).or_input()?;
    let listen = move || {
        for signal in signals.forever() {
            heard(128 + signal as u8);
        }
    };
    let listener = std::thread::Builder::new().name("signals".into());
    listener.spawn(listen).or_input().map(drop)
}

#[cfg(not(unix))]
fn on_signal(heard: impl Fn(u8) + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(move || heard(INTERRUPTED)).or_input()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_end_that_comes_twice_at_once_is_one_and_keys_count_each() {
        let at = Instant::now();
        let heard = |code, ms| Heard {
            code,
            at: at + Duration::from_millis(ms),
        };
        let first = heard(TERMINATED, 0);
        assert!(first.is_heard_again(heard(TERMINATED, 0)));
        assert!(first.is_heard_again(heard(TERMINATED, 999)));
        assert!(!first.is_heard_again(heard(TERMINATED, 1000)));
        assert!(!first.is_heard_again(heard(INTERRUPTED, 0)));
        assert!(!heard(INTERRUPTED, 0).is_heard_again(heard(INTERRUPTED, 1)));
    }
}
