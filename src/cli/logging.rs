//! Warnings of the library and of what it is made of, a line each on the standard error output.

use std::env::{self, VarError};
use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::failure::{Failure, one_line};
use crate::cli::notice;

/// Says which messages are shown.
const VARIABLE: &str = "RUST_LOG";

/// Begins to show messages: warnings, or what `RUST_LOG` says, or with `--quiet` errors only.
pub(crate) fn listen() -> Result<(), Failure> {
    let filter = match (notice::is_quiet(), env::var(VARIABLE)) {
        (true, _) => EnvFilter::new("error"),
        (false, Ok(wanted)) if !wanted.trim().is_empty() => parse(&wanted)?,
        (false, Err(VarError::NotUnicode(wanted))) => parse(&wanted.to_string_lossy())?,
        (false, _) => EnvFilter::new("warn"),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
    let lines = subscriber.with_writer(std::io::stderr).event_format(Line);
    // whoever calls the program as a library may listen already
    let _ = lines.try_init();
    Ok(())
}

fn parse(wanted: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(wanted).map_err(|error| {
        Failure::input(format!(
            "`{VARIABLE}` is `{wanted}`, expected a level, or modules with levels, as in info or \
             darkhorse_genesis=debug: {error}"
        ))
    })
}

/// `warning: what is wrong`; below warnings, also where it comes from.
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
