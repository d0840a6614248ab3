//! Input lines of a chat: commands, or text for the model.

/// Kind of an input line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line of white space only.
    Empty,
    /// Text for the model.
    Said(&'a str),
    /// A command for the program.
    Command(Command),
    /// A line that begins with a slash and is not a command.
    Unknown(&'a str),
}

/// Commands of the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Clear,
    Help,
    Exit,
}

/// Names of the commands.
const NAMES: [(&str, Command); 7] = [
    ("/clear", Command::Clear),
    ("/reset", Command::Clear),
    ("/help", Command::Help),
    ("/exit", Command::Exit),
    ("/quit", Command::Exit),
    ("exit", Command::Exit),
    ("quit", Command::Exit),
];

/// Text of `/help`, also shown at the start.
pub(super) const HELP: &str = "/clear begins anew, /help tells this, /exit or the end of input ends, Ctrl-C stops an answer, clears a line, and at an empty one ends if it is pressed twice; // at the beginning of a line stands for a slash";

impl<'a> Line<'a> {
    /// Classifies an input line.
    pub(super) fn of(typed: &'a str) -> Self {
        let line = typed.trim();
        if let Some((_, command)) = NAMES.iter().find(|(name, _)| *name == line) {
            return Self::Command(*command);
        }
        match line.strip_prefix('/') {
            None if line.is_empty() => Self::Empty,
            None => Self::Said(line),
            Some(escaped) if escaped.starts_with('/') => Self::Said(escaped),
            Some(_) => Self::Unknown(line),
        }
    }
}

/// Error message for an unknown command.
pub(super) fn unknown(line: &str) -> String {
    let shown: String = line.chars().take(40).collect();
    let known = NAMES.iter().map(|(name, _)| *name);
    let known: Vec<&str> = known.filter(|name| name.starts_with('/')).collect();
    format!(
        "unknown command `{shown}`, expected one of {}; to send a line that begins with a slash, begin it with //",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_slash_are_commands_unless_it_is_doubled() {
        assert_eq!(Line::of(" /clear \n"), Line::Command(Command::Clear));
        assert_eq!(Line::of("quit"), Line::Command(Command::Exit));
        assert_eq!(Line::of("quit smoking"), Line::Said("quit smoking"));
        assert_eq!(Line::of("//etc/passwd"), Line::Said("/etc/passwd"));
        assert_eq!(Line::of("\t \r\n"), Line::Empty);
        for wrong in ["/clera", "/", "/clear all", "/Exit"] {
            assert_eq!(Line::of(wrong), Line::Unknown(wrong));
        }
    }

    #[test]
    fn an_unknown_command_is_answered_with_those_there_are() {
        let line = unknown("/clera");
        assert!(line.starts_with("unknown command `/clera`"), "{line}");
        let commands = NAMES.iter().filter(|(name, _)| name.starts_with('/'));
        for (name, _) in commands {
            assert!(line.contains(name), "{line}");
        }
    }
}
