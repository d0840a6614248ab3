//! The journal `metrics.jsonl`: one record per line, appended during a run.
//!
//! Invalid lines never stop anything: they are skipped with a warning, and a resumed run moves them to
//! `metrics.rejected.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::Record;

/// Number of invalid lines that are named; of more only the number is told.
const NAMED: usize = 5;

/// The journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The failed operation.
        action: &'static str,
        /// Path of the journal.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// A line that is not a valid record.
#[derive(Debug, Serialize)]
struct Rejected {
    /// Number of the line, from 1.
    line: usize,
    /// The parser's error.
    reason: String,
    /// Content of the line; bytes that are not UTF-8 are written as `\\xff`.
    text: String,
}

impl Journal {
    /// Opens the journal at `path` for a run that resumes after `step`, or starts (`step` 0). Records of later steps,
    /// which will be repeated, and an incomplete last line are removed. Invalid lines are moved to the file beside it
    /// that ends in `.rejected.jsonl`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] if it cannot be read or written.
    pub fn open(path: impl Into<PathBuf>, step: u64) -> Result<Self, JournalError> {
        let path = path.into();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io_error("open", &path))?;

        let mut kept = Vec::new();
        let rejected = read_lines(&path, &file, |record, line| {
            if record.step() <= step {
                kept.extend_from_slice(line);
                kept.push(b'\n');
            }
        })?;
        if !rejected.is_empty() {
            let aside = path.with_extension("rejected.jsonl");
            keep_aside(&aside, &rejected).map_err(io_error("write", &aside))?;
            warn(
                &path,
                &rejected,
                &format!("it is kept in {}", aside.display()),
            );
        }
        // evaluations may be interleaved, so the kept lines need not be a prefix
        let length = file.metadata().map_err(io_error("read", &path))?.len();
        if !rejected.is_empty() || length != kept.len() as u64 {
            replace(&path, &kept).map_err(io_error("write", &path))?;
            file = options.open(&path).map_err(io_error("open", &path))?;
        }
        file.seek(SeekFrom::End(0))
            .map_err(io_error("read", &path))?;
        Ok(Self { path, file })
    }

    /// Appends a record in a single write.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] if it cannot be written.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(record)
            .map_err(|error| io_error("write", &self.path)(error.into()))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.flush())
            .map_err(io_error("write", &self.path))
    }
}

/// Reads all records of a journal, oldest first. An incomplete last line is skipped silently, other invalid lines
/// with a warning. A journal that does not exist is empty.
///
/// # Errors
///
/// [`JournalError::Io`] if it cannot be read.
pub fn read_journal(path: impl AsRef<Path>) -> Result<Vec<Record>, JournalError> {
    let path = path.as_ref();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mut records = Vec::new();
    let rejected = read_lines(path, &file, |record, _| records.push(record))?;
    warn(path, &rejected, "it is passed over");
    Ok(records)
}

/// Calls `each` with every record and its line, and returns the invalid lines.
fn read_lines(
    path: &Path,
    file: &File,
    mut each: impl FnMut(Record, &[u8]),
) -> Result<Vec<Rejected>, JournalError> {
    let mut reader = BufReader::new(file);
    let mut rejected = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(io_error("read", path))? == 0 {
            break;
        }
        let is_whole = bytes.pop_if(|last| *last == b'\n').is_some();
        match serde_json::from_slice(&bytes) {
            Ok(record) => each(record, &bytes),
            Err(error) if is_whole => rejected.push(Rejected {
                line,
                reason: reason(&error),
                text: bytes
                    .utf8_chunks()
                    .map(|chunk| format!("{}{}", chunk.valid(), escaped(chunk.invalid())))
                    .collect(),
            }),
            // an incomplete line of a killed process
            Err(_) => {}
        }
    }
    Ok(rejected)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// The parser's error with its column, but without the line number, which is always 1.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}

fn warn(path: &Path, rejected: &[Rejected], what_happens: &str) {
    for Rejected { line, reason, .. } in rejected.iter().take(NAMED) {
        tracing::warn!(
            "{}: line {line} is no record ({reason}); {what_happens}",
            path.display()
        );
    }
    if let Some(more) = rejected.len().checked_sub(NAMED).filter(|&more| more > 0) {
        tracing::warn!("{}: {more} more lines are no records", path.display());
    }
}

/// Appends invalid lines to the file for rejected ones.
fn keep_aside(path: &Path, rejected: &[Rejected]) -> io::Result<()> {
    let mut lines = Vec::new();
    for line in rejected {
        serde_json::to_writer(&mut lines, line)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&lines)?;
    file.sync_all()
}

/// Writes a temporary file beside `path` and renames it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("jsonl.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_path_buf();
    move |source| JournalError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{EvalRecord, StepRecord};

    fn step(step: u64) -> Record {
        Record::Step(StepRecord {
            step,
            loss: 1.0 / step as f64,
            ..Default::default()
        })
    }

    fn eval(step: u64) -> Record {
        Record::Eval(EvalRecord {
            step,
            ..Default::default()
        })
    }

    fn write(path: &Path, after: u64, records: &[Record]) {
        let mut journal = Journal::open(path, after).unwrap();
        for record in records {
            journal.append(record).unwrap();
        }
    }

    #[test]
    fn a_resumed_runs_journal_is_that_of_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, resumed] = ["whole", "resumed"].map(|name| folder.path().join(name));
        let all = [step(1), step(2), eval(2), step(3), step(4), eval(4)];
        write(&whole, 0, &all);

        // killed in the middle of a line, two steps after the checkpoint
        write(&resumed, 0, &all[..5]);
        let mut bytes = std::fs::read(&resumed).unwrap();
        bytes.extend(br#"{"eval":{"st"#);
        std::fs::write(&resumed, bytes).unwrap();
        assert_eq!(read_journal(&resumed).unwrap(), all[..5]);
        write(&resumed, 2, &all[3..]);

        assert_eq!(
            std::fs::read(&resumed).unwrap(),
            std::fs::read(&whole).unwrap()
        );
        assert_eq!(read_journal(&resumed).unwrap(), all);
    }

    /// A journal of four valid records with `lines` between the second and the third.
    fn damaged(path: &Path, lines: &[&[u8]]) -> [Record; 4] {
        let all = [step(1), eval(1), step(2), step(3)];
        write(path, 0, &all);
        let bytes = std::fs::read(path).unwrap();
        let mut whole: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        whole.splice(2..2, lines.iter().copied());
        std::fs::write(path, whole.concat()).unwrap();
        all
    }

    #[test]
    fn a_bad_line_anywhere_is_kept_aside_and_the_others_stay() {
        let bad: [&[u8]; 6] = [
            b"{}\n",
            b"\n",
            b"\xff\xfe\x00\n",
            br#"{"step":{"step":1{"step":{"step":2}}"#,
            b"\n{\"note\":{\"step\":1}}\n",
            &[0; 100],
        ];
        for end in 1..=bad.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let mut lines = bad[..end].to_vec();
            if !lines.concat().ends_with(b"\n") {
                lines.push(b"\n");
            }
            let all = damaged(&path, &lines);
            assert_eq!(read_journal(&path).unwrap(), all);

            drop(Journal::open(&path, 2).unwrap());
            assert_eq!(read_journal(&path).unwrap(), all[..3]);
            let good = std::fs::read(&path).unwrap();
            assert_eq!(good.iter().filter(|&&byte| byte == b'\n').count(), 3);

            let aside = std::fs::read_to_string(folder.path().join("metrics.rejected.jsonl"));
            let aside: Vec<serde_json::Value> = aside
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let number = lines.concat().iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(aside.len(), number);
            assert_eq!(
                (&aside[0]["line"], &aside[0]["text"]),
                (&3.into(), &"{}".into())
            );
            assert!(aside[0]["reason"].as_str().unwrap().contains("column"));
            if end > 2 {
                assert_eq!(aside[2]["text"], "\\xff\\xfe\0");
            }
            // opening it again moves nothing
            drop(Journal::open(&path, 2).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), good);
        }
    }

    #[test]
    fn a_last_record_without_its_line_end_is_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        write(&path, 0, &[step(1), step(2)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        std::fs::write(&path, bytes).unwrap();
        write(&path, 2, &[step(3)]);
        assert_eq!(read_journal(&path).unwrap(), [step(1), step(2), step(3)]);
    }

    #[test]
    fn a_journal_that_does_not_exist_is_empty() {
        assert_eq!(read_journal("/nonexistent/metrics.jsonl").unwrap(), []);
    }
}
