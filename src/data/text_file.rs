//! Plain text files, each of which is one document.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::error::DataError;
use super::input::{self, Compression, Input};
use super::lines::MAX_BYTES;
use super::place::Place;
use super::record::Record;

pub(super) struct TextFile {
    path: Arc<Path>,
    input: Option<Input>,
    max_bytes: usize,
}

impl TextFile {
    /// Opens a file; `bytes_read` counts the bytes read from the disk.
    pub(super) fn open(
        path: &Arc<Path>,
        compression: Compression,
        bytes_read: Arc<AtomicU64>,
    ) -> Result<Self, DataError> {
        Ok(Self {
            path: path.clone(),
            input: Some(input::open(path, compression, bytes_read)?),
            max_bytes: MAX_BYTES,
        })
    }

    /// Returns the document once; a blank file has none.
    pub(super) fn next(&mut self) -> Option<Result<(Place, Record), DataError>> {
        let input = self.input.take()?;
        match self.read(input) {
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(Ok((
                Place::File,
                Record {
                    text,
                    conversation: None,
                    tag: None,
                },
            ))),
            Err(error) => Some(Err(error)),
        }
    }

    fn read(&self, input: Input) -> Result<String, DataError> {
        let mut bytes = Vec::new();
        input
            .take(self.max_bytes as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| DataError::Read {
                path: self.path.to_path_buf(),
                line: bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
                source,
            })?;
        if bytes.len() > self.max_bytes {
            return Err(DataError::TooLong {
                path: self.path.to_path_buf(),
                place: Place::File,
                limit_bytes: self.max_bytes as u64,
            });
        }
        String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let lines = good.iter().filter(|byte| **byte == b'\n').count();
            let before = good.iter().rev().take_while(|byte| **byte != b'\n');
            DataError::InvalidUtf8 {
                path: self.path.to_path_buf(),
                place: Place::Line(lines as u64 + 1),
                column: before.count() + 1,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::file;
    use super::*;

    fn read(content: impl AsRef<[u8]>, max_bytes: usize) -> Option<Result<String, String>> {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = file(folder.path(), "a.txt", content).into();
        let mut text = TextFile::open(&path, Compression::None, Arc::default()).unwrap();
        text.max_bytes = max_bytes;
        let first = text.next();
        assert!(text.next().is_none());
        first.map(|read| match read {
            Ok((_, record)) => Ok(record.text),
            Err(error) => Err(error.to_string()),
        })
    }

    #[test]
    fn a_file_is_one_document_with_its_lines_and_spaces() {
        let text = " one\r\n\r\n{\"text\": 2}\n";
        assert_eq!(read(text, 100), Some(Ok(text.into())));
        assert_eq!(read(format!("\u{FEFF}{text}"), 100), Some(Ok(text.into())));
        assert_eq!(read(" \n\n", 100), None);
    }

    #[test]
    fn what_is_no_text_and_what_is_too_long_is_refused() {
        let error = read(b"one\ntwo \xFF", 100).unwrap().unwrap_err();
        assert!(
            error.ends_with("a.txt` line 2, byte 5: invalid UTF-8"),
            "{error}"
        );
        let error = read("12345", 4).unwrap().unwrap_err();
        assert!(error.contains("a.txt` is longer than 4 bytes"), "{error}");
        assert_eq!(read("12345", 5), Some(Ok("12345".into())));
    }
}
