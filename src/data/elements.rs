//! Reads the elements of a JSON array that fills a whole file one at a time, so that memory does not grow with the
//! file.

use std::io::{self, BufRead};

/// State of the scan of an array.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// Number of elements begun so far.
    pub(super) number: u64,
    /// Number of line ends passed since the start of the file.
    pub(super) line_ends: u64,
    /// Number of line ends before the last element.
    pub(super) starts_after: u64,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Within,
    After,
}

/// Result of [`Elements::next`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An element, which may be invalid JSON.
    Element,
    /// An element that exceeds the limit; the buffer holds its beginning.
    TooLong,
    /// The end of the array and of the file.
    End,
}

impl Elements {
    /// A scan that starts after this many line ends.
    pub(super) fn after(line_ends: u64) -> Self {
        Self {
            line_ends,
            ..Self::default()
        }
    }

    /// Reads the next element into `buffer`, without separators. The reader must stand at the array, or where the
    /// last call left it.
    ///
    /// # Errors
    ///
    /// Errors of the reader, [`io::ErrorKind::UnexpectedEof`] if the array does not end,
    /// [`io::ErrorKind::InvalidData`] if anything follows its end.
    pub(super) fn next(
        &mut self,
        reader: &mut dyn BufRead,
        buffer: &mut Vec<u8>,
        max_bytes: usize,
    ) -> io::Result<Found> {
        buffer.clear();
        let (mut depth, mut in_string, mut escaped) = (0u64, false, false);
        loop {
            let chunk = reader.fill_buf()?;
            if chunk.is_empty() {
                return match self.state {
                    State::After => Ok(Found::End),
                    _ => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the array has no end",
                    )),
                };
            }
            let mut used = 0;
            let mut found = None;
            for &byte in chunk {
                used += 1;
                self.line_ends += u64::from(byte == b'\n');
                if self.state != State::Within {
                    match byte {
                        b' ' | b'\t' | b'\r' | b'\n' => {}
                        b'[' if self.state == State::Before => self.state = State::Within,
                        _ => {
                            let reason = "expected nothing behind the array";
                            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                        }
                    }
                    continue;
                }
                if buffer.is_empty() {
                    if byte.is_ascii_whitespace() {
                        continue;
                    }
                    self.starts_after = self.line_ends;
                }
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'{' | b'[' => depth += 1,
                        b',' if depth == 0 => {
                            found = Some(Found::Element);
                            break;
                        }
                        b']' if depth == 0 => {
                            self.state = State::After;
                            // an empty array has no element, a comma before the end is followed by an empty one
                            let is_none = buffer.is_empty() && self.number == 0;
                            if !is_none {
                                found = Some(Found::Element);
                                break;
                            }
                            continue;
                        }
                        b'}' | b']' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
                if buffer.len() == max_bytes {
                    found = Some(Found::TooLong);
                    break;
                }
                buffer.push(byte);
            }
            reader.consume(used);
            if let Some(found) = found {
                self.number += 1;
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Elements with the line on which each begins, read `at_a_time` bytes at a time, and the final error.
    fn read(text: &str, at_a_time: usize) -> (Vec<(u64, String)>, Option<io::ErrorKind>) {
        let mut reader = BufReader::with_capacity(at_a_time, text.as_bytes());
        let (mut elements, mut buffer, mut all) = (Elements::default(), Vec::new(), Vec::new());
        loop {
            match elements.next(&mut reader, &mut buffer, 40) {
                Ok(Found::End) => return (all, None),
                Ok(Found::TooLong) => return (all, Some(io::ErrorKind::Other)),
                Ok(Found::Element) => {
                    let text = String::from_utf8(buffer.clone()).unwrap();
                    all.push((elements.starts_after + 1, text.trim_end().to_owned()));
                }
                Err(error) => return (all, Some(error.kind())),
            }
        }
    }

    #[test]
    fn elements_are_what_stands_between_the_commas_of_the_array() {
        let text = " [\n{\"a\": \"],\\\"[\"},\n\n {\"b\": [1, {}], \"c\": 2} , 5\n]\n\n";
        for at_a_time in [1, 2, 7, 100] {
            let (elements, error) = read(text, at_a_time);
            let expected = [
                (2, "{\"a\": \"],\\\"[\"}"),
                (4, "{\"b\": [1, {}], \"c\": 2}"),
                (4, "5"),
            ];
            assert_eq!(elements, expected.map(|(line, text)| (line, text.into())));
            assert_eq!(error, None);
        }
        assert_eq!(read("[ ]", 100), (vec![], None));
        let nothing = (1, String::new());
        assert_eq!(read("[1,]", 100).0, [(1, "1".into()), nothing]);
    }

    #[test]
    fn an_array_that_does_not_end_and_what_stands_behind_it_are_errors() {
        let whole = r#"[{"a": "]"}, {"b": 1}]"#;
        for length in 1..whole.len() {
            let error = read(&whole[..length], 100).1;
            assert_eq!(error, Some(io::ErrorKind::UnexpectedEof), "{length}");
        }
        let more = read("[1] 2", 100);
        assert_eq!(
            more,
            (vec![(1, "1".into())], Some(io::ErrorKind::InvalidData))
        );
        let long = format!("[\"{}\"]", "a".repeat(50));
        assert_eq!(read(&long, 100), (vec![], Some(io::ErrorKind::Other)));
    }
}
