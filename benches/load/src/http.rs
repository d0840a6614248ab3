//! HTTP of a few lines: one request per connection, and the data of server-sent events as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Time after which an answer that does not come is a failure.
const PATIENCE: Duration = Duration::from_secs(900);

/// Time in which a server has to load its model.
const LOADING: Duration = Duration::from_secs(120);

/// The address in a URL such as `http://127.0.0.1:8000`.
pub(crate) fn address(url: &str) -> Result<&str> {
    let rest = url.strip_prefix("http://");
    let rest = rest.with_context(|| format!("`{url}` is no http:// URL"))?;
    Ok(rest.trim_end_matches('/'))
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    reader: BufReader<TcpStream>,
    is_chunked: bool,
    length: Option<usize>,
    /// Bytes of the current chunk that are still to come.
    left: usize,
}

/// Sends a request and reads the head of its answer.
pub(crate) fn request(url: &str, path: &str, body: Option<&[u8]>) -> Result<Answer> {
    let address = address(url)?;
    let mut socket =
        TcpStream::connect(address).with_context(|| format!("nothing listens at {address}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(&[head.as_bytes(), body].concat())?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.with_context(|| format!("no answer from {address}: {line:?}"))?;
    let mut answer = Answer {
        status,
        reader,
        is_chunked: false,
        length: None,
        left: 0,
    };
    loop {
        line.clear();
        answer.reader.read_line(&mut line)?;
        let field = line.trim().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        answer.is_chunked |= field == "transfer-encoding: chunked";
        if let Some(length) = field.strip_prefix("content-length: ") {
            answer.length = Some(length.parse()?);
        }
    }
    Ok(answer)
}

/// Waits until a server has loaded its model.
pub(crate) fn wait(url: &str) -> Result<()> {
    let end = Instant::now() + LOADING;
    loop {
        let answer = request(url, "/health", None);
        if answer.is_ok_and(|it| it.status == 200) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{url} is not ready after {} seconds", LOADING.as_secs());
        }
        sleep(Duration::from_millis(200));
    }
}

impl Answer {
    /// The whole body of a success.
    pub(crate) fn text(mut self) -> Result<String> {
        let mut body = Vec::new();
        if self.is_chunked {
            while let Some(line) = self.line()? {
                body.extend_from_slice(line.as_bytes());
            }
        } else if let Some(length) = self.length {
            body.resize(length, 0);
            self.reader.read_exact(&mut body)?;
        } else {
            self.reader.read_to_end(&mut body)?;
        }
        let body = String::from_utf8(body)?;
        if self.status != 200 {
            bail!("status {}: {}", self.status, body.trim());
        }
        Ok(body)
    }

    /// The next data of an event; `None` at the end.
    pub(crate) fn event(&mut self) -> Result<Option<String>> {
        while let Some(line) = self.line()? {
            if let Some(data) = line.strip_prefix("data: ") {
                let data = data.trim_end();
                return Ok((data != "[DONE]").then(|| data.to_owned()));
            }
        }
        bail!("the stream broke off before [DONE]")
    }

    /// The next line of the body, its end included. Lines may lie across chunks.
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            if self.is_chunked && self.left == 0 {
                let mut size = String::new();
                if self.reader.read_line(&mut size)? == 0 {
                    bail!("the connection was closed within an answer");
                }
                // the end of the chunk before
                if size == "\r\n" {
                    continue;
                }
                self.left = usize::from_str_radix(size.trim(), 16)?;
                if self.left == 0 {
                    break;
                }
            }
            let buffered = self.reader.fill_buf()?;
            if buffered.is_empty() {
                break;
            }
            let most = if self.is_chunked {
                self.left
            } else {
                usize::MAX
            };
            let part = &buffered[..buffered.len().min(most)];
            let end = part.iter().position(|it| *it == b'\n');
            let taken = end.map_or(part.len(), |at| at + 1);
            line.extend_from_slice(&part[..taken]);
            self.reader.consume(taken);
            self.left = self.left.saturating_sub(taken);
            if end.is_some() {
                break;
            }
        }
        if line.is_empty() {
            return Ok(None);
        }
        Ok(Some(String::from_utf8(line)?))
    }
}
