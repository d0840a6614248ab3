//! Calls of the program in a folder, with a standard input.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A call that is being prepared.
pub(crate) struct Program {
    arguments: Vec<String>,
    folder: PathBuf,
    input: Vec<u8>,
    environment: Vec<(&'static str, String)>,
}

/// The outcome of a call.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Program {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|it| it.to_string()).collect(),
            folder: env!("CARGO_TARGET_TMPDIR").into(),
            input: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.folder = folder.into();
        self
    }

    pub(crate) fn reading(mut self, input: impl AsRef<[u8]>) -> Self {
        self.input = input.as_ref().into();
        self
    }

    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.into()));
        self
    }

    pub(crate) fn run(self) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
        command.args(&self.arguments).current_dir(&self.folder);
        command.env_remove("RUST_LOG").envs(self.environment);
        command.stdin(Stdio::piped());
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input;
        // a program that reads nothing may have exited by then, so the result is ignored
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        Ended {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The one-line error of refused arguments.
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.errors.lines().count(), 1, "{self:?}");
        let line = self.errors.trim_end().strip_prefix("error: ");
        line.unwrap_or_else(|| panic!("{self:?}"))
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
