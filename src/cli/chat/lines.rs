//! Input lines of a chat: edited on a terminal, with a history over conversations, or read from a pipe.

use std::borrow::Cow;
use std::env;
use std::io::{self, BufRead, IsTerminal, StdinLock};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::{ReadlineError, Signal};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use crate::cli::failure::Failure;
use crate::cli::interrupt::{Effect, Interrupt};
use crate::cli::notice;

const PROMPT: &str = "> ";
/// Replacement for bytes that are not UTF-8.
const REPLACEMENT: char = '\u{FFFD}';

/// Source of input lines.
pub(super) struct Lines<'a> {
    source: Source,
    /// Receives Ctrl-C while a line is edited.
    interrupt: &'a Interrupt,
    /// Whether the user was told that bytes were replaced.
    has_told: bool,
}

enum Source {
    Terminal(Box<Terminal>),
    Plain(StdinLock<'static>),
}

/// A line editor with the file of its history.
struct Terminal {
    editor: Editor<Typed, FileHistory>,
    history: Option<PathBuf>,
}

impl<'a> Lines<'a> {
    /// Reads lines from the standard input.
    pub(super) fn open(interrupt: &'a Interrupt) -> Self {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let terminal = is_terminal.then(Terminal::open).flatten();
        Self {
            source: match terminal {
                Some(terminal) => Source::Terminal(Box::new(terminal)),
                None => Source::Plain(io::stdin().lock()),
            },
            interrupt,
            has_told: false,
        }
    }

    /// The next line; `None` at the end of input, or if the user ends the chat.
    pub(super) fn next(&mut self) -> Result<Option<String>, Failure> {
        let (line, is_text) = match &mut self.source {
            Source::Terminal(terminal) => terminal.next(self.interrupt)?,
            Source::Plain(stdin) => plain(stdin)?,
        };
        self.interrupt.is_typed();
        if !is_text && !std::mem::replace(&mut self.has_told, true) {
            notice::tell(format_args!(
                "bytes that are not UTF-8 are replaced by {REPLACEMENT}"
            ));
        }
        Ok(line)
    }
}

/// Reads a line, and returns whether it was valid UTF-8.
fn plain(stdin: &mut StdinLock<'_>) -> Result<(Option<String>, bool), Failure> {
    if io::stdin().is_terminal() {
        eprint!("{PROMPT}");
    }
    let mut bytes = Vec::new();
    if stdin.read_until(b'\n', &mut bytes)? == 0 {
        return Ok((None, true));
    }
    Ok(match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(line) => (Some(line.to_owned()), true),
        Cow::Owned(line) => (Some(line), false),
    })
}

impl Terminal {
    fn open() -> Option<Self> {
        let config = Config::builder().max_history_size(1000).ok()?;
        let config = config.history_ignore_dups(true).ok()?.build();
        let mut editor = Editor::with_config(config).ok()?;
        editor.set_helper(Some(Typed::default()));
        // the history is optional: if it cannot be read or written, there is none
        let history = history_file().filter(|file| make_private_parent(file).is_ok());
        if let Some(file) = &history {
            let _ = editor.load_history(file);
        }
        Some(Self { editor, history })
    }

    fn next(&mut self, interrupt: &Interrupt) -> Result<(Option<String>, bool), Failure> {
        let (mut before, mut is_text) = (String::new(), true);
        loop {
            self.typed().clear();
            match self.editor.readline_with_initial(PROMPT, (&before, "")) {
                Ok(line) => {
                    self.keep(&line);
                    return Ok((Some(line), is_text));
                }
                Err(ReadlineError::Eof) => return Ok((None, is_text)),
                // Ctrl-C as a key or as a signal
                Err(ReadlineError::Interrupted | ReadlineError::Signal(Signal::Interrupt)) => {
                    before.clear();
                    if !self.typed().is_empty() {
                        interrupt.is_typed();
                    } else if interrupt.hear() == Effect::Ends {
                        return Ok((None, is_text));
                    }
                }
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    is_text = false;
                    before = std::mem::take(&mut *self.typed());
                    before.push(REPLACEMENT);
                }
                Err(ReadlineError::Io(error)) => return Err(error.into()),
                // such as another size of the terminal
                Err(_) => before = std::mem::take(&mut *self.typed()),
            }
        }
    }

    fn keep(&mut self, line: &str) {
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(file)) = (is_new, &self.history) {
            let _ = self.editor.append_history(file);
        }
    }

    /// Text of the line when it was last changed.
    fn typed(&self) -> std::sync::MutexGuard<'_, String> {
        let typed = self.editor.helper().expect("it was set");
        typed.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the line while it is edited, since the editor returns it only when it is entered.
#[derive(Default)]
struct Typed(Mutex<String>);

impl Hinter for Typed {
    type Hint = String;

    fn hint(&self, line: &str, _at: usize, _context: &Context<'_>) -> Option<String> {
        let mut typed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        typed.clear();
        typed.push_str(line);
        None
    }
}

impl Completer for Typed {
    type Candidate = String;
}

impl Highlighter for Typed {}
impl Validator for Typed {}
impl Helper for Typed {}

/// Path of the history: in the XDG state folder, or in Windows' local application data.
fn history_file() -> Option<PathBuf> {
    let of = |variable| {
        let folder = env::var_os(variable).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let state = of("XDG_STATE_HOME")
        .or_else(|| Some(of("HOME")?.join(".local/state")))
        .or_else(|| of("LOCALAPPDATA"))?;
    Some(state.join("darkhorse-genesis").join("chat-history"))
}

fn make_private_parent(file: &Path) -> io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    file.parent().map_or(Ok(()), |parent| folder.create(parent))
}
