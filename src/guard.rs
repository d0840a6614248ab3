//! Catches panics of third-party readers on damaged files, and turns them into errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is within [`guarded`], which reports a panic as an error and not as a crash.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Message of a caught panic, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its reader gave up: {0}")]
pub(crate) struct Panicked(String);

/// Runs `read` and returns a panic in it as an error, without printing anything. Use it only for work that can be
/// dropped half-done: values that `read` changed must not be used after an error.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, Panicked> {
    silence_guarded_panics();
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(before);
    result.map_err(|payload| Panicked(message(&*payload)))
}

/// Replaces the panic hook, which prints before a panic can be caught, by one that is silent within [`guarded`].
fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                next(panic);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    let line = text.unwrap_or("no message").split_whitespace();
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_within_is_one_line_of_error_and_the_next_reading_goes_on() {
        let broken = guarded(|| -> u8 { panic!("index {}\n  out of range", 7) });
        assert_eq!(
            broken.unwrap_err().to_string(),
            "its reader gave up: index 7 out of range"
        );
        let long = guarded(|| -> u8 { panic!("{}", "é".repeat(500)) }).unwrap_err();
        assert!(long.to_string().ends_with("é..."), "{long}");
        assert_eq!(guarded(|| 5), Ok(5));
        assert!(!GUARDED.get());
    }

    #[test]
    fn a_guard_within_a_guard_leaves_the_outer_one_on() {
        let inner = guarded(|| {
            let inner = guarded(|| panic!("inner"));
            (inner.is_err(), GUARDED.get())
        });
        assert_eq!(inner, Ok((true, true)));
    }
}
