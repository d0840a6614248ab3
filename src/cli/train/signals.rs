//! Ctrl-C, and the signals that ask a process to end.
//!
//! Before there is a run, the first one ends the process. A run it asks to stop: the step is finished and saved. The
//! second one ends the process at once, which costs what was done since the last checkpoint and nothing else.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::logging;
use crate::run::Screen;
use crate::run::Stop;
use crate::run::dashboard;

/// Exit code of a process that Ctrl-C ended, by the custom of shells: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Exit code of a process that was asked to end.
const TERMINATED: u8 = 143;

/// Who asks a process and its group to end, as `timeout` of GNU does, asks the process twice.
const ECHO: Duration = Duration::from_secs(1);

/// Listens for as long as the process lives.
#[derive(Debug, Clone)]
pub(super) struct Signals(Arc<State>);

#[derive(Debug)]
struct State {
    stop: Stop,
    has_begun: AtomicBool,
    says_so: bool,
    /// The signal that asked the run to stop.
    first: OnceLock<Heard>,
}

/// A signal.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Exit code of a process that it ends.
    code: u8,
    at: Instant,
}

impl Heard {
    /// Whether another one is the same request, not a second one. Of a person's keys each counts.
    fn is_heard_again(self, other: Self) -> bool {
        [self.code, other.code] == [TERMINATED; 2] && other.at.duration_since(self.at) < ECHO
    }
}

impl Signals {
    /// Begins to listen; `undo` takes back what a start leaves that has not come to a run.
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

    /// From now on there is something to save.
    pub(super) fn run_begins(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    /// What a signal asks for.
    pub(super) fn stop(&self) -> Stop {
        self.0.stop.clone()
    }

    /// Exit code of a run that was stopped.
    pub(super) fn code(&self) -> u8 {
        // none: by a key of the dashboard
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

/// The terminal may be what has gone.
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
