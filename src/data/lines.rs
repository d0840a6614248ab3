//! Documents from JSON lines, plain or compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use super::documents::Record;
use super::error::DataError;
use super::zstd::ZstdFrames;
use crate::tokenizer::chat::Conversation;

/// Longest line; a file without line ends must not fill the memory.
const MAX_LINE_BYTES: u64 = 128 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// How a file of lines is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

pub(super) struct Lines {
    path: Arc<Path>,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    buffer: Vec<u8>,
    max_line_bytes: u64,
}

/// The fields of a line; others are ignored.
#[derive(Deserialize)]
struct Fields {
    text: Option<String>,
    messages: Option<Value>,
    tools: Option<Value>,
    domain: Option<String>,
}

impl Lines {
    /// `bytes_read` grows by what is read from the disk.
    pub(super) fn open(
        path: &Arc<Path>,
        compression: Compression,
        bytes_read: Arc<AtomicU64>,
    ) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Open {
            path: path.to_path_buf(),
            source,
        })?;
        let raw = BufReader::with_capacity(BUFFER_BYTES, Counted { file, bytes_read });
        let reader: Box<dyn BufRead + Send> = match compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                MultiGzDecoder::new(raw),
            )),
            Compression::Zstd => {
                Box::new(BufReader::with_capacity(BUFFER_BYTES, ZstdFrames::new(raw)))
            }
        };
        Ok(Self {
            path: path.clone(),
            reader,
            line: 0,
            buffer: Vec::new(),
            max_line_bytes: MAX_LINE_BYTES,
        })
    }

    /// The next document and its line; blank lines are passed over.
    pub(super) fn next(&mut self) -> Option<Result<(u64, Record), DataError>> {
        loop {
            match self.read_line() {
                Ok(0) => return None,
                Ok(_) if self.buffer.trim_ascii().is_empty() => {}
                Ok(_) => return Some(self.parse().map(|record| (self.line, record))),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Returns the number of bytes read, 0 at the end of the file.
    fn read_line(&mut self) -> Result<usize, DataError> {
        // one huge line must not cost its memory for ever
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        let read = (&mut self.reader)
            .take(self.max_line_bytes)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| DataError::Read {
                path: self.path.to_path_buf(),
                line: self.line,
                source,
            })?;
        if read > 0 {
            self.line += 1;
        }
        if read as u64 == self.max_line_bytes && !self.buffer.ends_with(b"\n") {
            return Err(DataError::LineTooLong {
                path: self.path.to_path_buf(),
                line: self.line,
                limit_bytes: self.max_line_bytes,
            });
        }
        Ok(read)
    }

    fn parse(&self) -> Result<Record, DataError> {
        let path = || self.path.to_path_buf();
        let line = self.line;
        let broken = |column, reason: String| DataError::BrokenJson {
            path: path(),
            line,
            column,
            reason,
        };
        let text = std::str::from_utf8(&self.buffer).map_err(|error| DataError::InvalidUtf8 {
            path: path(),
            line,
            column: error.valid_up_to() + 1,
        })?;
        let text = text
            .strip_prefix('\u{FEFF}')
            .filter(|_| line == 1)
            .unwrap_or(text);
        let text = text.trim_end();
        if !text.trim_start().starts_with('{') {
            return Err(broken(1, "expected an object `{...}`".into()));
        }
        let fields: Fields = serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            broken(error.column(), reason.trim_end_matches(&place).into())
        })?;
        let conversation = fields.messages.as_ref().map(|messages| {
            let parsed = Conversation::parse(messages, fields.tools.as_ref());
            parsed.map_err(|source| DataError::Conversation {
                path: path(),
                line,
                source,
            })
        });
        let conversation = conversation.transpose()?;
        let text = fields
            .text
            .or_else(|| conversation.as_ref().map(Conversation::text))
            .ok_or_else(|| DataError::MissingText { path: path(), line })?;
        Ok(Record {
            text,
            conversation,
            tag: fields.domain,
        })
    }
}

struct Counted {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::super::testing::file;
    use super::*;

    type Read = Vec<Result<(u64, String), DataError>>;

    fn read(content: &[u8], compression: Compression, max_line_bytes: u64) -> Read {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = file(folder.path(), "a.jsonl", content).into();
        let counter = Arc::new(AtomicU64::new(0));
        let mut lines = Lines::open(&path, compression, counter.clone()).unwrap();
        lines.max_line_bytes = max_line_bytes;
        let mut all = Vec::new();
        while let Some(record) = lines.next() {
            let failed = record.is_err();
            all.push(record.map(|(line, record)| (line, record.text)));
            if failed {
                return all;
            }
        }
        assert_eq!(counter.load(Ordering::Relaxed), content.len() as u64);
        all
    }

    fn plain(content: impl AsRef<[u8]>) -> Read {
        read(content.as_ref(), Compression::None, MAX_LINE_BYTES)
    }

    fn texts(read: Read) -> Vec<(u64, String)> {
        read.into_iter().map(Result::unwrap).collect()
    }

    fn message(read: Read) -> String {
        read.into_iter().find_map(Result::err).unwrap().to_string()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    const TWO: &[u8] = b"{\"text\":\"one\"}\n{\"text\":\"two\"}\n";

    #[test]
    fn blank_lines_windows_ends_and_a_byte_order_mark_do_no_harm() {
        let read = plain("\u{FEFF}{\"text\":\"one\"}\r\n\n  \r\n{\"text\":\"two\"}");
        assert_eq!(texts(read), [(1, "one".into()), (4, "two".into())]);
        assert!(plain("").is_empty());
    }

    #[test]
    fn broken_json_is_told_with_line_and_column() {
        let read = plain("{\"text\":\"one\"}\n{\"text\": \"two\" \"x\"}\n");
        let message = message(read);
        assert!(
            message.ends_with("line 2, column 16: broken JSON, expected `,` or `}`"),
            "{message}"
        );
        assert!(self::message(plain("[\"a\", \"code\"]")).contains("expected an object"));
        assert!(self::message(plain("{\"text\": 5}")).contains("invalid type: integer `5`"));
    }

    #[test]
    fn invalid_utf8_is_told_with_line_and_byte() {
        let message = message(plain(b"{\"text\":\"a\"}\n{\"text\":\"a\xFFb\"}\n"));
        assert!(
            message.ends_with("line 2, byte 11: invalid UTF-8"),
            "{message}"
        );
    }

    #[test]
    fn a_line_without_end_is_an_error_before_it_fills_the_memory() {
        let line = format!("{{\"text\":\"{}\"}}", "a".repeat(100));
        let message = message(read(line.as_bytes(), Compression::None, 50));
        assert!(
            message.contains("line 1 is longer than 50 bytes"),
            "{message}"
        );
        let exact = read(line.as_bytes(), Compression::None, line.len() as u64 + 1);
        assert_eq!(texts(exact).len(), 1);
    }

    #[test]
    fn compressed_files_may_have_several_parts() {
        let gz = [gzip(TWO), gzip(TWO)].concat();
        assert_eq!(texts(read(&gz, Compression::Gzip, MAX_LINE_BYTES)).len(), 4);

        let skippable = [b"\x50\x2A\x4D\x18\x03\x00\x00\x00xyz".to_vec()];
        let zst = [zstd(TWO), skippable.concat(), zstd(TWO), zstd(b"")].concat();
        assert_eq!(
            texts(read(&zst, Compression::Zstd, MAX_LINE_BYTES)).len(),
            4
        );
    }

    #[test]
    fn a_cut_compressed_file_is_an_error_and_not_a_short_one() {
        for (compression, whole) in [
            (Compression::Gzip, gzip(TWO)),
            (Compression::Zstd, zstd(TWO)),
        ] {
            for length in 1..whole.len() {
                let message = message(read(&whole[..length], compression, MAX_LINE_BYTES));
                assert!(
                    message.contains("damaged or incomplete"),
                    "{length}: {message}"
                );
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        for (compression, whole) in [
            (Compression::None, TWO.to_vec()),
            (Compression::Gzip, gzip(TWO)),
            (Compression::Zstd, zstd(TWO)),
        ] {
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0xA5;
                let folder = tempfile::tempdir().unwrap();
                let path: Arc<Path> = file(folder.path(), "a.jsonl", &changed).into();
                let mut lines = Lines::open(&path, compression, Arc::default()).unwrap();
                while let Some(Ok(_)) = lines.next() {}
            }
        }
    }
}
