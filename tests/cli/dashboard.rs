//! `dashboard` begins with one line and refuses what is no run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::home::Home;

#[test]
fn it_tells_its_address_and_shows_the_run() {
    let home = Home::new();
    home.write_config(false);
    home.write(
        "data.jsonl",
        "{\"text\": \"one text of some words\"}\n".repeat(80),
    );
    home.done("train --config model.json --data data.jsonl --no-valid --out runs/one --steps 2");
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
    command
        .args(["dashboard", "--port", "0"])
        .current_dir(home.path("."));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line.strip_prefix("the run is shown at http://").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let mut socket = TcpStream::connect(address).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).unwrap();
    child.kill().unwrap();
    let errors = child.wait_with_output().unwrap().stderr;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("finished after 2 steps"), "{page}");
    // the run that was chosen is named
    assert!(String::from_utf8(errors).unwrap().contains("runs/one"));
}

#[test]
fn what_is_no_run_is_refused_in_a_line() {
    let home = Home::new();
    let many = (0..9).map(|it| format!(" {it}")).collect::<String>();
    for (arguments, expected) in [
        (String::new(), "no run in `runs/`: train one"),
        (" nowhere".into(), "nowhere"),
        (many, "9 runs are named, expected at most 8"),
        (" a b a".into(), "`a` is named twice"),
    ] {
        let line = home.refused(&format!("dashboard{arguments} --port 0"));
        assert!(line.contains(expected), "{arguments}: {line}");
    }
}
