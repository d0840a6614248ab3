//! Calls whose standard output or standard error output cannot be written to.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::model::{copy, with_tokenizer};

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
    command.args(arguments.split_whitespace());
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Calls that print a result, in a folder with a model and a text.
fn calls(folder: &Path) -> Vec<String> {
    let model = copy(folder, "llama_tied");
    with_tokenizer(&model);
    let text = "{\"text\": \"some words\"}\n".repeat(40);
    std::fs::write(folder.join("a.jsonl"), text).unwrap();
    [
        "evaluate --model llama_tied --data a.jsonl --seq-len 16",
        "quantize --model llama_tied --bits 8 --out q8",
        "import --from llama_tied --out imported",
        "export --checkpoint llama_tied --format hf --out exported",
        "inference --model llama_tied --ids 5,6 --print-ids --max-tokens 2",
        "inference --model llama_tied --prompt a --max-tokens 2",
        "tokenize --model llama_tied --text a",
        "plan --params tiny",
        "man",
        "train --init-from llama_tied --data a.jsonl --no-valid --steps 1 --batch-size 1 --seq-len 8 --out run",
    ]
    .map(str::to_owned)
    .into()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_reader_who_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    for call in calls(folder.path()) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(folder.path(), &call)
            .stdout(writer)
            .output()
            .unwrap();
        assert!(output.status.success(), "{call}: {output:?}");
        assert!(!told(&output).contains("error"), "{call}: {output:?}");
    }
    assert!(folder.path().join("run/report.html").is_file());
}

#[test]
fn a_run_goes_on_where_nobody_reads_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let calls = calls(folder.path());
    let train = calls.last().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let both = [writer.try_clone().unwrap(), writer];
    let [out, errors] = both;
    let mut command = command(folder.path(), train);
    let status = command.stdout(out).stderr(errors).status();
    assert!(status.unwrap().success());
    assert!(folder.path().join("run/report.html").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for call in calls(folder.path()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(folder.path(), &call).stdout(full).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{call}: {told}");
        let last = told.lines().last().unwrap();
        assert!(
            last.starts_with("error: cannot write to the standard output: No space left"),
            "{call}: {told}"
        );
    }
}
