//! Ctrl-C, and the signals that ask a process to end.
//!
//! Before there is a run, the first one ends the process. A run it asks to stop: the step is finished and saved. The
//! second one ends the process at once, which costs what was done since the last checkpoint and nothing else.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::logging;
use crate::training::dashboard;
use crate::training::job::Screen;
use crate::training::stop::Stop;

/// Exit code of a process that Ctrl-C ended, by the custom of shells: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Listens for as long as the process lives.
#[derive(Debug, Clone)]
pub(super) struct Signals(Arc<State>);

#[derive(Debug)]
struct State {
    stop: Stop,
    has_begun: AtomicBool,
    says_so: bool,
    /// Exit code of the first signal, 0 before.
    code: AtomicU8,
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
            code: AtomicU8::new(0),
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
        match self.0.code.load(Ordering::Relaxed) {
            // by a key of the dashboard
            0 => INTERRUPTED,
            code => code,
        }
    }
}

impl State {
    fn hear(&self, code: u8, undo: &impl Fn()) {
        if !self.has_begun.load(Ordering::Relaxed) {
            undo();
            tell("stopped before the run began");
            std::process::exit(code.into());
        }
        if self.stop.is_asked() {
            dashboard::restore_terminal();
            logging::show_held_back();
            tell("stopped at once, without saving");
            std::process::exit(code.into());
        }
        self.code.store(code, Ordering::Relaxed);
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
