//! A conversation on a pseudo-terminal of util-linux's `script`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::chat::{endless, talking};
use crate::program::text;

/// Time limit of every wait.
const PATIENCE: Duration = Duration::from_secs(20);

struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Output that no wait has consumed yet.
    shown: String,
}

impl Terminal {
    fn open(home: &Path, arguments: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_darkhorse-genesis");
        // `exec`, since Ctrl-C would end a shell that waits for the program
        let line = format!("exec {program} {}", arguments.join(" "));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("HOME", home)
            .env_remove("XDG_STATE_HOME")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut screen = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send(bytes[..read].to_vec());
            }
        });
        Self {
            keys: child.stdin.take().unwrap(),
            child,
            output,
            shown: String::new(),
        }
    }

    /// Waits until a text is shown, and consumes the output before it.
    fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            self.look(text);
        }
        let at = self.shown.find(text).unwrap();
        self.shown.drain(..at + text.len());
    }

    /// Waits for this number of bytes of output.
    fn wait_for_bytes(&mut self, count: usize) {
        while self.shown.len() < count {
            self.look("more");
        }
    }

    fn look(&mut self, for_text: &str) {
        match self.output.recv_timeout(PATIENCE) {
            Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
            Err(_) => panic!("`{for_text}` is not shown: {}", self.shown),
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the program to end successfully.
    fn ends(mut self) {
        let status = self.child.wait().unwrap();
        let rest: Vec<u8> = self.output.iter().flatten().collect();
        let shown = self.shown + &String::from_utf8_lossy(&rest);
        assert!(status.success(), "{status}: {shown}");
    }
}

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const UP: &str = "\u{1b}[A";

#[test]
fn ctrl_c_stops_an_answer_clears_a_line_and_ends_where_it_is_pressed_twice_at_an_empty_one() {
    let home = tempfile::tempdir().unwrap();
    let model = endless(home.path());
    let arguments = [
        "chat",
        "--model",
        text(&model),
        "--max-tokens",
        "900000",
        "--stats",
    ];
    let mut terminal = Terminal::open(home.path(), &arguments);
    terminal.wait_for("> ");
    terminal.press("hi\r");
    terminal.wait_for("hi");
    terminal.wait_for_bytes(200);
    terminal.press(CTRL_C);
    terminal.wait_for("prefill ");
    terminal.wait_for("> ");
    terminal.press("half a line");
    terminal.wait_for("half a line");
    terminal.press(CTRL_C);
    // keys that are pressed before the next prompt may be lost
    terminal.wait_for("\n");
    terminal.wait_for("> ");
    terminal.press(CTRL_C);
    terminal.wait_for("Ctrl-C again, /exit or Ctrl-D ends");
    terminal.wait_for("> ");
    // after another line, the next Ctrl-C counts as the first one
    terminal.press("/clear\r");
    terminal.wait_for("\n");
    terminal.wait_for("> ");
    terminal.press(CTRL_C);
    terminal.wait_for("Ctrl-C again");
    terminal.wait_for("> ");
    terminal.press(CTRL_C);
    terminal.ends();
}

#[test]
fn lines_that_come_at_once_are_answered_one_after_the_other() {
    let home = tempfile::tempdir().unwrap();
    let model = talking(home.path());
    let arguments = [
        "chat",
        "--model",
        text(&model),
        "--max-tokens",
        "2",
        "--stats",
    ];
    let mut terminal = Terminal::open(home.path(), &arguments);
    terminal.wait_for("> ");
    terminal.press("one\rtwo\rthree\r");
    for _ in 0..3 {
        terminal.wait_for("prefill ");
    }
    terminal.wait_for("> ");
    terminal.press(CTRL_D);
    terminal.ends();
}

#[test]
fn lines_of_earlier_conversations_come_back_and_are_private() {
    let home = tempfile::tempdir().unwrap();
    let model = talking(home.path());
    let arguments = [
        "chat",
        "--model",
        text(&model),
        "--max-tokens",
        "2",
        "--stats",
    ];
    let mut terminal = Terminal::open(home.path(), &arguments);
    terminal.wait_for("> ");
    terminal.press("remember this\r");
    terminal.wait_for("prefill ");
    terminal.wait_for("> ");
    terminal.press(CTRL_D);
    terminal.ends();

    let mut terminal = Terminal::open(home.path(), &arguments);
    terminal.wait_for("> ");
    terminal.press(UP);
    terminal.wait_for("remember this");
    terminal.press("\r");
    terminal.wait_for("prefill ");
    terminal.wait_for("> ");
    terminal.press("/exit\r");
    terminal.ends();

    use std::os::unix::fs::PermissionsExt;
    let folder = home.path().join(".local/state/darkhorse-genesis");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("chat-history")), 0o600);
}

#[test]
fn a_history_that_cannot_be_kept_is_done_without() {
    let home = tempfile::tempdir().unwrap();
    let model = talking(home.path());
    // a file is in the place of the folder
    std::fs::write(home.path().join(".local"), "").unwrap();
    let arguments = [
        "chat",
        "--model",
        text(&model),
        "--max-tokens",
        "2",
        "--stats",
    ];
    let mut terminal = Terminal::open(home.path(), &arguments);
    terminal.wait_for("> ");
    terminal.press("hi\r");
    terminal.wait_for("prefill ");
    terminal.wait_for("> ");
    terminal.press(CTRL_D);
    terminal.ends();
}
