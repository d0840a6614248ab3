//! `serve` begins with one line, ends by a signal, and refuses what it cannot use.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::chat::talking;
use crate::program::{Program, text};

/// The whole answer of a server.
fn ask(address: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_tells_its_address_answers_and_ends_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
    let arguments = [
        "serve",
        "--model",
        text(&model),
        "--port",
        "0",
        "--cache-memory",
        "100MB",
    ];
    command.args(arguments).env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line
        .strip_prefix("llama_tied is served at http://")
        .unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let body = "{\"prompt\": \"ab\", \"max_tokens\": 3}";
    let answer = ask(
        address,
        &format!(
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("\"object\":\"text_completion\""),
        "{answer}"
    );
    let id = child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{errors}");
    assert!(lines.next().is_none());
    assert!(!errors.contains("error"), "{errors}");
}

#[test]
fn keys_an_address_or_a_model_that_cannot_be_used_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "# none yet\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = |more: &[&str]| {
        let arguments = ["serve", "--model", text(&model), "--port", "0"];
        let ended = Program::new(&[&arguments[..], more].concat()).run();
        ended.refusal().to_owned()
    };
    let without = refused(&["--api-keys", text(&keys)]);
    assert!(without.contains("has no API key"), "{without}");
    let taken = Program::new(&["serve", "--model", text(&model), "--port", &port]).run();
    let taken = taken.refusal().to_owned();
    assert!(taken.contains("cannot listen on 127.0.0.1"), "{taken}");
    assert!(refused(&["--host", "no.such.host.invalid"]).contains("cannot listen"));
    assert!(refused(&["--name", ""]).contains("--name"));
    let absent = Program::new(&["serve", "--model", "/absent"]).run();
    assert!(absent.refusal().contains("/absent"));
}
