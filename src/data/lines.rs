//! Documents from JSON: one object per line, or one array of objects per file.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::elements::{Elements, Found};
use super::error::DataError;
use super::input::{self, Compression, Input};
use super::place::Place;
use super::record::{self, Record, Refusal, TEXT};

/// Largest length of a line in bytes, which bounds memory for files without line ends.
pub(super) const MAX_BYTES: usize = 128 << 20;
/// Largest buffer, in bytes, that is kept for the next line.
const KEPT_BYTES: usize = 4 << 20;

pub(super) struct Lines {
    path: Arc<Path>,
    input: Input,
    text_field: Option<Arc<str>>,
    shape: Shape,
    buffer: Vec<u8>,
    max_bytes: usize,
}

/// Layout of the file's objects, found from the first byte that is not white space.
enum Shape {
    Unknown,
    Lines {
        /// Number of line ends passed.
        line: u64,
    },
    Array(Elements),
    /// After an error that ends the reading.
    Ended,
}

impl Lines {
    /// Opens a file; `bytes_read` counts the bytes read from the disk.
    pub(super) fn open(
        path: &Arc<Path>,
        compression: Compression,
        text_field: Option<Arc<str>>,
        bytes_read: Arc<AtomicU64>,
    ) -> Result<Self, DataError> {
        let input = input::open(path, compression, bytes_read)?;
        Ok(Self::of(path, input, text_field))
    }

    /// Reads from an open input.
    pub(super) fn of(path: &Arc<Path>, input: Input, text_field: Option<Arc<str>>) -> Self {
        Self {
            path: path.clone(),
            input,
            text_field,
            shape: Shape::Unknown,
            buffer: Vec::new(),
            max_bytes: MAX_BYTES,
        }
    }

    /// The next document and its place; blank lines are skipped.
    pub(super) fn next(&mut self) -> Option<Result<(Place, Record), DataError>> {
        loop {
            match self.read() {
                Ok(None) => return None,
                // a blank element is not skipped, since a comma announced it
                Ok(Some(Place::Line(_))) if self.buffer.trim_ascii().is_empty() => {}
                Ok(Some(place)) => return Some(self.parse(place).map(|record| (place, record))),
                Err(error) => {
                    self.shape = Shape::Ended;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Reads the next line or element into the buffer; `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Place>, DataError> {
        // a single huge line must not keep its memory
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        if matches!(self.shape, Shape::Unknown) {
            self.shape = self.find_shape()?;
        }
        let (path, limit) = (&self.path, self.max_bytes as u64);
        let failed = |line, source| DataError::Read {
            path: path.to_path_buf(),
            line,
            source,
        };
        let too_long = |place| DataError::TooLong {
            path: path.to_path_buf(),
            place,
            limit_bytes: limit,
        };
        match &mut self.shape {
            Shape::Unknown | Shape::Ended => Ok(None),
            Shape::Lines { line } => {
                let read = (&mut self.input)
                    .take(limit)
                    .read_until(b'\n', &mut self.buffer)
                    .map_err(|source| failed(*line, source))?;
                if read == 0 {
                    return Ok(None);
                }
                *line += 1;
                if read as u64 == limit && !self.buffer.ends_with(b"\n") {
                    return Err(too_long(Place::Line(*line)));
                }
                Ok(Some(Place::Line(*line)))
            }
            Shape::Array(elements) => {
                let found = elements
                    .next(&mut self.input, &mut self.buffer, self.max_bytes)
                    .map_err(|source| failed(elements.line_ends, source))?;
                let place = Place::Element {
                    number: elements.number,
                    line: elements.starts_after + 1,
                };
                match found {
                    Found::End => Ok(None),
                    Found::TooLong => Err(too_long(place)),
                    Found::Element => Ok(Some(place)),
                }
            }
        }
    }

    /// Skips white space and finds the layout from the first other byte.
    fn find_shape(&mut self) -> Result<Shape, DataError> {
        let mut line = 0;
        loop {
            let chunk = self.input.fill_buf().map_err(|source| DataError::Read {
                path: self.path.to_path_buf(),
                line,
                source,
            })?;
            let white = chunk.iter().take_while(|byte| byte.is_ascii_whitespace());
            let white = white.count();
            match chunk.get(white) {
                Some(b'[') => {
                    return Ok(Shape::Array(Elements::after(line)));
                }
                None if !chunk.is_empty() => {
                    line += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.input.consume(white);
                }
                _ => return Ok(Shape::Lines { line }),
            }
        }
    }

    fn parse(&self, place: Place) -> Result<Record, DataError> {
        let path = || self.path.to_path_buf();
        let text = std::str::from_utf8(&self.buffer).map_err(|error| DataError::InvalidUtf8 {
            path: path(),
            place,
            column: error.valid_up_to() + 1,
        })?;
        refused(
            record::parse(text, self.text_field.as_deref()),
            &self.path,
            place,
            self.text_field.as_deref(),
        )
    }
}

/// Adds the place in the file to a refusal.
pub(super) fn refused(
    record: Result<Record, Refusal>,
    path: &Path,
    place: Place,
    text_field: Option<&str>,
) -> Result<Record, DataError> {
    let path = || path.to_path_buf();
    record.map_err(|refusal| match refusal {
        Refusal::Broken(fault) => DataError::BrokenJson {
            path: path(),
            place,
            column: fault.at + 1,
            reason: fault.reason,
        },
        Refusal::Turns(source) => DataError::Turns {
            path: path(),
            place,
            source,
        },
        Refusal::Null(field) => DataError::NullText {
            path: path(),
            place,
            field,
        },
        Refusal::NoText(present) => DataError::MissingText {
            path: path(),
            place,
            field: text_field.unwrap_or(TEXT).into(),
            present,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::Ordering;

    use super::super::testing::file;
    use super::*;

    type Read = Vec<Result<(u64, String), DataError>>;

    fn read(content: &[u8], compression: Compression, max_bytes: usize) -> Read {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = file(folder.path(), "a.jsonl", content).into();
        let counter = Arc::new(AtomicU64::new(0));
        let mut lines = match Lines::open(&path, compression, None, counter.clone()) {
            Ok(lines) => lines,
            Err(error) => return vec![Err(error)],
        };
        lines.max_bytes = max_bytes;
        let mut all = Vec::new();
        while let Some(record) = lines.next() {
            let failed = record.is_err();
            all.push(record.map(|(place, record)| (place.line(), record.text)));
            if failed {
                return all;
            }
        }
        assert_eq!(counter.load(Ordering::Relaxed), content.len() as u64);
        all
    }

    fn plain(content: impl AsRef<[u8]>) -> Read {
        read(content.as_ref(), Compression::None, MAX_BYTES)
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
        zstd::encode_all(content, 1).unwrap()
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
        let array = self::message(plain("\n[\"a\", \"code\"]"));
        assert!(
            array.ends_with("line 2, element 1, byte 1: broken JSON, expected an object `{...}`"),
            "{array}"
        );
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
        let exact = read(line.as_bytes(), Compression::None, line.len() + 1);
        assert_eq!(texts(exact).len(), 1);
    }

    #[test]
    fn compressed_files_may_have_several_parts() {
        let gz = [gzip(TWO), gzip(TWO)].concat();
        assert_eq!(texts(read(&gz, Compression::Gzip, MAX_BYTES)).len(), 4);

        let skippable = [b"\x50\x2A\x4D\x18\x03\x00\x00\x00xyz".to_vec()];
        let zst = [zstd(TWO), skippable.concat(), zstd(TWO), zstd(b"")].concat();
        assert_eq!(texts(read(&zst, Compression::Zstd, MAX_BYTES)).len(), 4);
    }

    #[test]
    fn a_cut_compressed_file_is_an_error_and_not_a_short_one() {
        for (compression, whole) in [
            (Compression::Gzip, gzip(TWO)),
            (Compression::Zstd, zstd(TWO)),
        ] {
            for length in 1..whole.len() {
                let message = message(read(&whole[..length], compression, MAX_BYTES));
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
                if let Ok(mut lines) = Lines::open(&path, compression, None, Arc::default()) {
                    while let Some(Ok(_)) = lines.next() {}
                }
            }
        }
    }

    #[test]
    fn windows_of_128_mib_in_several_frames_are_read_to_the_end() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/zstd");
        let content = std::fs::read(path.join("long_windows.jsonl.zst")).unwrap();
        assert_eq!(
            texts(read(&content, Compression::Zstd, MAX_BYTES)).len(),
            60
        );
    }

    #[test]
    fn an_array_of_objects_is_read_as_its_lines_would_be() {
        let array = "\u{FEFF} [\n  {\"text\": \"one\"},\n  {\n \"text\": \"two\"\n  }, {\"text\":\"three\"}]\n";
        let expected = [(2, "one".into()), (3, "two".into()), (5, "three".into())];
        assert_eq!(texts(plain(array)), expected);
        let gz = gzip(array.as_bytes());
        assert_eq!(texts(read(&gz, Compression::Gzip, MAX_BYTES)), expected);
        assert!(plain("[]").is_empty());

        let message = message(plain("[{\"text\": \"one\"}, {\"text\": 5}]"));
        let place = "line 1, element 2, byte 10: broken JSON, invalid type: integer `5`";
        assert!(message.contains(place), "{message}");
        let cut = self::message(plain("[{\"text\": \"one\"},"));
        assert!(cut.contains("damaged or incomplete"), "{cut}");
    }

    #[test]
    fn nothing_is_read_behind_a_damaged_place() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = file(folder.path(), "a.json", "[{\"text\": \"one\"}] x").into();
        let mut lines = Lines::open(&path, Compression::None, None, Arc::default()).unwrap();
        assert!(lines.next().unwrap().is_ok());
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }
}
