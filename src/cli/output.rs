//! Results on the standard output, which may be closed or full.

use std::fmt::{Arguments, Display};
use std::io::{self, StdoutLock, Write};

use crate::cli::failure::Failure;

/// The standard output, whose errors name it and keep their kind.
pub(crate) struct Output(StdoutLock<'static>);

impl Output {
    pub(crate) fn open() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    let line = format!("cannot write to the standard output: {error}");
    io::Error::new(error.kind(), line)
}

/// Prints a text unchanged.
pub(crate) fn text(text: impl Display) -> Result<(), Failure> {
    let mut out = Output::open();
    write!(out, "{text}")?;
    // an error at the end of the process would be ignored, so the output is flushed here
    Ok(out.flush()?)
}

/// Prints a line.
pub(crate) fn line(line: impl Display) -> Result<(), Failure> {
    text(format_args!("{line}\n"))
}

/// Prints to the standard error output and ignores failures.
pub(crate) fn error(said: Arguments<'_>) {
    let _ = io::stderr().write_fmt(said);
}
