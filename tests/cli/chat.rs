//! `chat` survives any input.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::model::{configure, copy, with_tokenizer};
use crate::program::{Ended, Program, text};

/// A model with a context of 256 tokens and one token per character.
pub(crate) fn talking(folder: &Path) -> PathBuf {
    let model = copy(folder, "llama_tied");
    with_tokenizer(&model);
    model
}

/// Runs a conversation with these lines.
fn chat(said: impl AsRef<[u8]>, more: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let arguments = ["chat", "--model", text(&model), "--temperature", "0"];
    let ended = Program::new(&[&arguments[..], more].concat()).reading(said);
    let ended = ended.with("HOME", text(folder.path())).run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        !folder.path().join(".local").exists(),
        "plain lines are no history"
    );
    ended
}

/// Lines beside the answers, after the one that lists the commands.
fn told(ended: &Ended) -> Vec<&str> {
    let mut lines = ended.errors.lines();
    // `--stats` prints the settings before it
    let at = lines.position(|line| line.contains("/help"));
    assert!(at.is_some_and(|at| at <= 1), "{ended:?}");
    lines.collect()
}

#[test]
fn a_line_longer_than_the_context_is_refused_and_the_conversation_goes_on() {
    let long = "a".repeat(400);
    let ended = chat(
        format!("hi\n{long}\nhi again\n"),
        &["--max-tokens", "4", "--stats"],
    );
    let told = told(&ended);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].starts_with("this does not fit: "), "{told:?}");
    assert!(told[1].contains("the model's context is 256"), "{told:?}");
    // earlier turns are still in the cache, and are not read again
    assert!(told[2].starts_with("prefill 29 tokens"), "{told:?}");
}

#[test]
fn a_full_context_forgets_the_oldest_turns_and_says_how_many() {
    let line = "b".repeat(60);
    let said = format!("{line}\n{line}\n{line}\n{line}\n");
    let ended = chat(said, &["--max-tokens", "20", "--system", "be brief"]);
    let told = told(&ended);
    assert!(!told.is_empty());
    for line in &told {
        assert!(
            line.starts_with("the context of 256 tokens is full: the oldest "),
            "{told:?}"
        );
        assert!(line.ends_with(" tokens"), "{told:?}");
    }
}

#[test]
fn an_answer_that_fills_the_context_ends_there_and_the_next_line_finds_room() {
    let line = "c".repeat(150);
    let ended = chat(format!("{line}\nhi\n"), &["--max-tokens", "1000"]);
    let errors = &ended.errors;
    assert!(errors.contains("the oldest turn is forgotten"), "{errors}");
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_it_is_said_once() {
    let ended = chat(b"h\xffi\n\xfe\xfe\n/exit\n", &["--max-tokens", "2"]);
    assert_eq!(
        told(&ended),
        ["bytes that are not UTF-8 are replaced by \u{FFFD}"]
    );
}

#[test]
fn unknown_commands_are_named_with_those_there_are_and_a_double_slash_is_said() {
    let said = "/clera\n/\n//etc\n/help\n/clear\n\n";
    let ended = chat(said, &["--max-tokens", "2", "--stats"]);
    let told = told(&ended);
    assert!(
        told[0].starts_with("unknown command `/clera`, expected one of /clear, "),
        "{told:?}"
    );
    assert!(told[1].starts_with("unknown command `/`"), "{told:?}");
    assert!(told[2].starts_with("prefill "), "{told:?}");
    assert!(told[3].starts_with("/clear begins anew"), "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn quiet_says_nothing_beside_answers() {
    let ended = chat("hi\n", &["--quiet", "--max-tokens", "2"]);
    assert_eq!(ended.errors, "");
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_the_answer_and_one_behind_it_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = endless(folder.path());
    let mut child = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
        .args(["chat", "--model", text(&model), "--stats"])
        .args(["--max-tokens", "900000", "--temperature", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let interrupt = || {
        let pid = child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status();
        assert!(status.unwrap().success());
    };
    let mut told = String::new();
    while !told.contains("/help") {
        errors.read_line(&mut told).unwrap();
    }
    for said in ["hi", "more"] {
        writeln!(stdin, "{said}").unwrap();
        // waits for the start of the answer
        output.read_exact(&mut [0; 8]).unwrap();
        interrupt();
        // reads the rest of the answer
        told.clear();
        let reader = std::thread::scope(|scope| {
            let rest = scope.spawn(|| {
                let mut byte = [0];
                while byte != *b"\n" {
                    output.read_exact(&mut byte).unwrap();
                }
            });
            errors.read_line(&mut told).unwrap();
            rest.join()
        });
        reader.unwrap();
        assert!(told.starts_with("prefill "), "{told}");
        // an interrupt after the answer does not end the conversation
        interrupt();
        told.clear();
        errors.read_line(&mut told).unwrap();
        assert_eq!(told, "Ctrl-C again, /exit or Ctrl-D ends\n");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// A model whose answers practically never end.
pub(crate) fn endless(folder: &Path) -> PathBuf {
    let model = talking(folder);
    configure(&model, "max_position_embeddings", 1_000_000);
    configure(&model, "eos_token_id", 127);
    model
}

#[test]
fn words_may_begin_with_a_hyphen() {
    let said = chat("hi\n", &["--system", "- be brief", "--max-tokens", "2"]);
    assert!(!said.output.is_empty());
}

#[test]
fn instructions_longer_than_the_context_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let long = "s".repeat(300);
    let ended = Program::new(&["chat", "--model", text(&model), "--system", &long]).run();
    let line = ended.refusal();
    assert!(line.starts_with("`--system` does not fit: "), "{line}");
    assert!(line.contains("the model's context is 256"), "{line}");
}

#[test]
fn a_tokenizer_that_is_not_the_model_s_own_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    with_tokenizer(&other);
    let file = other.join("tokenizer.json");
    let arguments = ["chat", "--model", text(&model), "--tokenizer", text(&file)];
    let errors = || Program::new(&arguments).reading("/exit\n").run().errors;
    assert!(!errors().contains("tokenizer"), "{}", errors());
    let swapped = std::fs::read_to_string(&file).unwrap();
    let swapped = swapped
        .replace("\"a\":", "\"?\":")
        .replacen("\"?\":", "\"a\":", 1);
    std::fs::write(&file, swapped).unwrap();
    let line = errors().lines().next().unwrap().to_owned();
    assert!(
        line.contains("has other tokens than the model's own"),
        "{line}"
    );
}
