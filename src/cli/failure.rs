//! Failures of the program: one line on the standard error output, and an exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::panic;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Parser};

use crate::cli::logging;
use crate::stored::OpenError;

/// Message with which burn-train's dashboard panics when its menu ends the process.
const KILLED: &str = "Killing training from user input.";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid arguments or input: exit code 2.
    Input(anyhow::Error),
    /// Any other failure: exit code 1.
    Other(anyhow::Error),
    /// The user stopped the command and was told so: this exit code.
    Stopped(u8),
}

impl Failure {
    /// A failure of the arguments or the input.
    pub(crate) fn input(message: impl Display) -> Self {
        Self::Input(anyhow::anyhow!("{message}"))
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Other(_) => 1,
            Self::Stopped(code) => *code,
        }
    }

    /// The error and its causes, in one line.
    pub(crate) fn line(&self) -> String {
        let (Self::Input(error) | Self::Other(error)) = self else {
            return String::new();
        };
        let mut line = String::new();
        for cause in error.chain() {
            let cause = cause.to_string();
            // some messages include their cause
            if !line.ends_with(&cause) {
                let colon = if line.is_empty() { "" } else { ": " };
                line.push_str(colon);
                line.push_str(&cause);
            }
        }
        with_short_quotes(&one_line(&line))
    }

    /// Whether the reader of the output has gone, as in `plan | head`, which is not an error.
    fn is_closed_pipe(&self) -> bool {
        let (Self::Input(error) | Self::Other(error)) = self else {
            return false;
        };
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// A model that cannot be opened counts as bad input.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if error.is::<OpenError>() {
            Self::Input(error)
        } else {
            Self::Other(error)
        }
    }
}

/// Classifies an error as one of the arguments or the input.
pub(crate) trait OrInput<T> {
    /// Turns an error into a failure with exit code 2.
    fn or_input(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrInput<T> for Result<T, E> {
    fn or_input(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::Input(error.into()))
    }
}

/// Runs the program and reports how it ended. A panic is reported like other failures, without a backtrace.
pub(crate) fn catch(run: fn() -> Result<(), Failure>) -> ExitCode {
    panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        if message == KILLED {
            logging::show_held_back();
            eprintln!("stopped at once, without saving");
            std::process::exit(130);
        }
        eprintln!("error: {} (a bug, at {place})", one_line(message));
    }));
    match panic::catch_unwind(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Ok(Err(Failure::Stopped(code))) => ExitCode::from(code),
        Ok(Err(failure)) => {
            eprintln!("error: {}", failure.line());
            ExitCode::from(failure.code())
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Parses the arguments; `None` if help or version was printed.
pub(crate) fn parse<C: Parser>(arguments: Vec<OsString>) -> Result<Option<C>, Failure> {
    let parsed = with_negative_numbers(C::command()).try_get_matches_from(arguments);
    let error = match parsed.and_then(|mut found| C::from_arg_matches_mut(&mut found)) {
        Ok(arguments) => return Ok(Some(arguments)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print()?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Failure::input(
            "nothing to do: give a command or `--prompt TEXT`, see `darkhorse-genesis --help`",
        )),
        _ if is_about_adapter(&error) => Err(Failure::input(
            "`--adapter` changes the weights of a model, and this command reads none: leave it out",
        )),
        _ => Err(Failure::input(complaint(&error.to_string()))),
    }
}

/// Whether `--adapter` was given to a command that does not have it.
fn is_about_adapter(error: &clap::Error) -> bool {
    let argument = error.get(ContextKind::InvalidArg);
    error.kind() == ErrorKind::UnknownArgument
        && matches!(argument, Some(ContextValue::String(name)) if name == "--adapter")
}

/// Accepts negative numbers such as `-1` as values of options, so that an error can name the value.
fn with_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let takes_values = argument.get_action().takes_values();
        argument.allow_negative_numbers(takes_values)
    });
    command.mut_subcommands(with_negative_numbers)
}

/// Messages of the standard library's number parsers, and the expectation to print instead.
const NUMBERS: [(&str, &str); 5] = [
    (
        "invalid digit found in string",
        "expected a whole number, 0 or more",
    ),
    (
        "cannot parse integer from empty string",
        "expected a whole number, 0 or more",
    ),
    (
        "number too large to fit in target type",
        "expected a smaller number",
    ),
    ("invalid float literal", "expected a number"),
    ("cannot parse float from empty string", "expected a number"),
];

/// clap's message and tip in one line, without the usage.
fn complaint(message: &str) -> String {
    let (said, _) = message.split_once("Usage:").unwrap_or((message, ""));
    let said = said.split("For more information").next().unwrap_or(said);
    let mut said = said.trim().trim_start_matches("error: ").to_owned();
    for (of_library, expected) in NUMBERS {
        said = said.replace(of_library, expected);
    }
    format!("{}; see `--help`", one_line(&said.replace("\n\n", "; ")))
}

/// Prefix and closing delimiter of values that messages quote from files.
const QUOTES: [(&str, char); 4] = [
    ("unknown domain `", '`'),
    ("\"", '"'),
    ("unknown variant `", '`'),
    ("unknown field `", '`'),
];

/// Longest quoted value in a message, in characters.
const MOST_QUOTED: usize = 100;

/// Shortens long values that the line quotes.
fn with_short_quotes(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    let next = |rest: &str| {
        let found = QUOTES
            .iter()
            .filter_map(|&(before, end)| Some((rest.find(before)?, before, end)));
        found.min_by_key(|found| found.0)
    };
    while let Some((at, before, end)) = next(rest) {
        let (told, value) = rest.split_at(at + before.len());
        let length = value.find(end).unwrap_or(value.len());
        let (value, behind) = value.split_at(length);
        out.push_str(told);
        match value.char_indices().nth(MOST_QUOTED) {
            Some((cut, _)) => out.extend([&value[..cut], "..."]),
            None => out.push_str(value),
        }
        // the delimiter that ends this value must not begin another
        let ended = behind.chars().next().map_or(0, char::len_utf8);
        out.push_str(&behind[..ended]);
        rest = &behind[ended..];
    }
    out + rest
}

/// Replaces line ends and repeated spaces by single spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_in_one_line() {
        let cause = io::Error::other("disk\n  full");
        let failure = Failure::from(anyhow::Error::new(cause).context("cannot save `x`"));
        assert_eq!(failure.line(), "cannot save `x`: disk full");
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn long_values_are_cut_and_what_is_said_of_them_is_not() {
        let (long, cut) = ("é".repeat(500), "é".repeat(100));
        let said = |value: &str| {
            format!(
                "`{long}`: string \"{value}\", not \"b\"; unknown variant `{value}`, expected {long}"
            )
        };
        assert_eq!(with_short_quotes(&said(&long)), said(&(cut + "...")));
        assert_eq!(with_short_quotes("an open \" quote"), "an open \" quote");
    }

    #[test]
    fn a_complaint_keeps_the_tip_and_drops_the_usage() {
        let message = "error: unexpected argument '--stps' found\n\n  tip: a similar argument exists: '--steps'\n\nUsage: x\n";
        assert_eq!(
            complaint(message),
            "unexpected argument '--stps' found; tip: a similar argument exists: '--steps'; see `--help`"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Failure::from(closed).is_closed_pipe());
    }
}
