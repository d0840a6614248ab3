//! Handling of Ctrl-C in a chat: it stops an answer; at the prompt, the first one explains how to end and the second
//! one ends.
//!
//! A Ctrl-C meant for an answer may come after its end; it never ends the conversation.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::cli::failure::{Failure, OrInput};

/// Exit code after Ctrl-C, by the convention of shells.
const INTERRUPTED: i32 = 130;

/// Message for a Ctrl-C that stops nothing.
const HOW_TO_END: &str = "Ctrl-C again, /exit or Ctrl-D ends";

/// Handler of Ctrl-C, shared with a listener that lives as long as the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicU8>);

/// State of the chat when Ctrl-C is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Now {
    /// At the prompt.
    Prompt,
    /// At the prompt, after the user was told how to end.
    Told,
    /// During an answer.
    Answer,
    /// During an answer that is being stopped.
    Stopping,
}

/// Effect of a Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The answer is being stopped, or the user was told how to end.
    GoesOn,
    /// The conversation ends.
    Ends,
    /// The process ends during an answer.
    Breaks,
}

impl Interrupt {
    /// Starts listening.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        on_ctrl_c(move || match heard.hear() {
            Effect::GoesOn => {}
            // reading a line cannot be interrupted in another way
            Effect::Ends => exit(0),
            Effect::Breaks => exit(INTERRUPTED),
        })?;
        Ok(interrupt)
    }

    /// Runs work that the next Ctrl-C stops; the work must check [`is_asked`](Self::is_asked).
    pub(crate) fn stops<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Now::Answer);
        let done = work();
        self.set(Now::Prompt);
        done
    }

    /// Whether the work must stop.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Now::Stopping as u8
    }

    /// Resets the state after input: the next Ctrl-C is a first one again.
    pub(crate) fn is_typed(&self) {
        self.set(Now::Prompt);
    }

    /// Handles a Ctrl-C, from a signal or from a key at an empty line.
    pub(crate) fn hear(&self) -> Effect {
        if self.becomes(Now::Answer, Now::Stopping) {
            Effect::GoesOn
        } else if self.becomes(Now::Prompt, Now::Told) {
            eprintln!("{HOW_TO_END}");
            Effect::GoesOn
        } else if self.is_asked() {
            Effect::Breaks
        } else {
            Effect::Ends
        }
    }

    fn becomes(&self, before: Now, now: Now) -> bool {
        let [before, now] = [before, now].map(|it| it as u8);
        let swapped = self
            .0
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
        swapped.is_ok()
    }

    fn set(&self, now: Now) {
        self.0.store(now as u8, Ordering::Relaxed);
    }
}

#[cfg(unix)]
fn on_ctrl_c(heard: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT]).or_input()?;
    let listen = move || signals.forever().for_each(|_| heard());
    let listener = std::thread::Builder::new().name("signals".into());
    listener.spawn(listen).or_input().map(drop)
}

#[cfg(not(unix))]
fn on_ctrl_c(heard: impl Fn() + Send + 'static) -> Result<(), Failure> {
    ctrlc::set_handler(heard).or_input()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_a_prompt_says_how_to_end_and_the_second_ends() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.hear(), Effect::GoesOn);
        assert_eq!(interrupt.hear(), Effect::Ends);

        let interrupt = Interrupt::default();
        for _ in 0..3 {
            assert_eq!(interrupt.hear(), Effect::GoesOn);
            interrupt.is_typed();
        }
    }

    #[test]
    fn only_a_second_one_during_an_answer_breaks_it_off() {
        let interrupt = Interrupt::default();
        let effects = interrupt.stops(|| {
            assert!(!interrupt.is_asked());
            let first = interrupt.hear();
            assert!(interrupt.is_asked());
            [first, interrupt.hear()]
        });
        assert_eq!(effects, [Effect::GoesOn, Effect::Breaks]);
        // an interrupt after the answer counts as the first one
        assert!(!interrupt.is_asked());
        assert_eq!(interrupt.hear(), Effect::GoesOn);
        interrupt.stops(|| assert!(!interrupt.is_asked()));
        assert_eq!(interrupt.hear(), Effect::GoesOn);
    }
}
