//! A client of a few lines, which can also do what a proper one would not.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Time after which an answer that does not come is a failure.
const PATIENCE: Duration = Duration::from_secs(600);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Data of all events, each of which has its type as name.
    pub(crate) fn named_events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{self:?}");
        let whole = self.body.strip_suffix("\n\n").unwrap();
        let events = whole.split("\n\n").map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
            data
        });
        events.collect()
    }

    /// Data of all events.
    pub(crate) fn events(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(
            self.head.contains("content-type: text/event-stream"),
            "{self:?}"
        );
        let whole = self.body.strip_suffix("\n\n").unwrap();
        let data = whole.split("\n\n").map(|event| {
            assert!(!event.contains('\n'), "{event:?}");
            event.strip_prefix("data: ").unwrap().to_owned()
        });
        data.collect()
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Sends a request and leaves the connection open.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let headers: String = headers.iter().map(|it| format!("{it}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.0.write_all(head.as_bytes()).unwrap();
        // a server may refuse a body before it is sent
        let _ = self.0.write_all(body);
    }

    /// Reads until a text has come.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = self.0.read(&mut buffer).unwrap();
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..read]);
            let found = String::from_utf8_lossy(&all);
            if found.contains(text) {
                return found.into_owned();
            }
        }
    }

    /// Reads to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // a server that closes with unread input resets the connection
        let _ = self.0.read_to_end(&mut all);
        all
    }

    /// Reads the whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let all = self.rest();
        let end = all.windows(4).position(|it| it == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(&all)));
        let head = String::from_utf8(all[..end].to_vec())
            .unwrap()
            .to_lowercase();
        let body = &all[end + 4..];
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_vec()
        };
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: String::from_utf8(body).unwrap(),
            head,
        }
    }

    /// Sends nothing more.
    pub(crate) fn half_close(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body
            .windows(2)
            .position(|it| it == b"\r\n")
            .expect("a chunk has a length");
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        body = &body[end + 2..];
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[..length]);
        body = &body[length + 2..];
    }
}
