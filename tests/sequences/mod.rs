//! Sequences of commands and accidents, none of which may leave a run worse than before.

mod run;
mod table;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use run::{Place, Row};

#[test]
fn no_run_is_ever_worse_after_a_command_than_before_it() {
    let rows = table::ROWS;
    assert!(rows.len() >= 40);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let place = Place::new();
                while let Some(commands) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    Row::new(&place).play(commands);
                }
            });
        }
    });
}

/// Entries of a folder, except the test's inputs.
fn left_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names
        .filter(|name| !run::INPUTS.contains(&&**name))
        .collect()
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let failing = [
        ("--data none.jsonl", "none.jsonl"),
        ("--data bad.jsonl", "line 2"),
        ("--data empty.jsonl", "is empty"),
        ("--data other.jsonl --valid bad.jsonl", "line 2"),
        ("--mix code=1.0", "code"),
        ("--tokenizer none.json", "none.json"),
        ("--train-tokenizer 10", "10"),
        ("--learning-rate 0", "`training.learning_rate` is 0"),
        ("--out bad.jsonl", "bad.jsonl"),
    ];
    for (arguments, said) in failing {
        let place = Place::new();
        let out = if arguments.starts_with("--out") {
            ""
        } else {
            "--out deep/run"
        };
        let output = place.train(&format!("--config config.json {out} {arguments}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
        assert!(errors.contains(said), "{arguments}: {errors}");
        let left = left_in(place.path());
        assert_eq!(left, [""; 0], "{arguments}: {errors}");
    }
}

#[test]
#[cfg(unix)]
fn a_signal_before_there_is_a_run_leaves_nothing() {
    use std::io::Write;

    let place = Place::new();
    let pipe = place.path().join("pipe.jsonl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("there is a program mkfifo").success());
    let child = place.spawn("--config config.json --out deep/run --data pipe.jsonl");
    // `open` returns when the program reads; the program then waits for more text
    let mut text = std::fs::File::options()
        .write(true)
        .open(&pipe)
        .expect("the pipe can be opened");
    text.write_all(b"{\"text\":").expect("the program reads");
    run::signal(&child, "INT");
    let output = child.wait_with_output().expect("the program is ours");
    assert_eq!(output.status.code(), Some(130));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.ends_with("stopped before the run began\n"),
        "{errors}"
    );
    std::fs::remove_file(&pipe).expect("the pipe is ours");
    assert_eq!(left_in(place.path()), [""; 0]);
}

/// Trains in a terminal with the dashboard and presses keys once three steps are done. Returns everything shown, the
/// exit code and the terminal's final settings; `None` if there is no terminal.
#[cfg(unix)]
fn pressed_in_the_dashboard(keys: &[u8]) -> Option<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_darkhorse-genesis");
    // before and after the dashboard, the key signals the shell too, which must survive to print the rest
    let shell = format!(
        "trap : INT; stty cols 80 rows 24; {program} train --config config.json --out run --steps 2000; echo code $?; stty -a"
    );
    let mut terminal = Command::new("script")
        .args(["-q", "-f", "-c", &shell, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut keyboard = terminal.stdin.take().expect("it is a pipe");
    let mut shown = terminal.stdout.take().expect("it is a pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut shown, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    run::wait_for_steps(&place.path().join("run"), 3);
    keyboard.write_all(keys).expect("the terminal is open");
    keyboard.flush().expect("the terminal is open");
    let shown = reader.join().expect("nothing panics");
    terminal.wait().expect("the terminal is ours");
    Some(shown)
}

#[test]
#[cfg(unix)]
fn ctrl_c_in_the_dashboard_saves_stops_and_gives_the_terminal_back() {
    for keys in [&b"\x03"[..], &b"\x03\x03"[..]] {
        let Some(shown) = pressed_in_the_dashboard(keys) else {
            println!("skipped: there is no program `script`");
            return;
        };
        assert!(shown.contains("code 130"), "{shown}");
        let (dashboard, after) = shown.rsplit_once("\x1b[?1049l").expect(&shown);
        assert!(dashboard.contains("\x1b[?1049h"), "{shown}");
        let said = [
            "to go on: darkhorse-genesis train --out run --resume",
            "stopped at once",
        ];
        assert!(said.iter().any(|said| after.contains(said)), "{after}");
        assert!(keys.len() > 1 || after.contains(said[0]), "{after}");
        assert!(after.contains("isig icanon"), "{after}");
    }
}
