//! Log messages of the library and its dependencies, one line each on the standard error output.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::failure::{Failure, one_line};
use crate::cli::notice;

/// Environment variable that selects which messages are shown.
const VARIABLE: &str = "RUST_LOG";

/// Starts showing messages: warnings, or those selected by `RUST_LOG`, or only errors with `--quiet`.
pub(crate) fn listen() -> Result<(), Failure> {
    let filter = match (notice::is_quiet(), env::var(VARIABLE)) {
        (true, _) => EnvFilter::new("error"),
        (false, Ok(wanted)) if !wanted.trim().is_empty() => parse(&wanted)?,
        (false, Err(VarError::NotUnicode(wanted))) => parse(&wanted.to_string_lossy())?,
        (false, _) => EnvFilter::new("warn"),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
    let lines = subscriber.with_writer(|| Errors).event_format(Line);
    // a program that uses this as a library may have a subscriber already
    let _ = lines.try_init();
    Ok(())
}

/// Messages held back while the dashboard has the screen; `None`: messages are printed directly.
static HELD_BACK: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Guard that holds messages back, to keep the dashboard's screen intact, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it shows the messages"]
pub(crate) struct HeldBack(());

/// Starts holding messages back.
pub(crate) fn hold_back() -> HeldBack {
    held_back().get_or_insert_default();
    HeldBack(())
}

/// Prints the messages held back, for a process that ends without dropping the guard.
pub(crate) fn show_held_back() {
    let messages = held_back().take().unwrap_or_default();
    let _ = io::stderr().write_all(&messages);
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        show_held_back();
    }
}

fn held_back() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writer to the standard error output, or to the messages held back.
struct Errors;

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match held_back().as_mut() {
            Some(held_back) => held_back.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn parse(wanted: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(wanted).map_err(|error| {
        Failure::input(format!(
            "`{VARIABLE}` is `{wanted}`, expected a level, or modules with levels, as in info or \
             darkhorse_genesis=debug: {error}"
        ))
    })
}

/// Formats `warning: message`; levels below warnings also have the module.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        let message = one_line(&message);
        let metadata = event.metadata();
        match *metadata.level() {
            Level::ERROR => writeln!(writer, "error: {message}"),
            Level::WARN => writeln!(writer, "warning: {message}"),
            level => writeln!(writer, "{level} {}: {message}", metadata.target()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_held_back_until_the_screen_is_free() {
        let holding = hold_back();
        writeln!(Errors, "warning: one").unwrap();
        writeln!(Errors, "warning: two").unwrap();
        let kept = held_back().clone().unwrap();
        assert_eq!(kept, b"warning: one\nwarning: two\n");
        drop(holding);
        assert_eq!(*held_back(), None);
    }
}
