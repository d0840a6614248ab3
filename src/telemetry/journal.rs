//! `metrics.jsonl`: one record a line, appended while a run goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::Record;

/// The journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line before the last is no record.
    #[error("{}:{line}: {source}; remove that line", path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal at `path` for a run that goes on after `step`, or starts (`step` 0). Lines of later
    /// steps, and half a line that a killed process left, are removed: the steps are about to be repeated.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], or [`JournalError::Line`] if a line before the last is no record.
    pub fn open(path: impl Into<PathBuf>, step: u64) -> Result<Self, JournalError> {
        let path = path.into();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io_error("open", &path))?;

        let mut kept = Vec::new();
        read_lines(&path, &file, |record, line| {
            if record.step() <= step {
                kept.extend_from_slice(line);
            }
        })?;
        // evaluations may stand between steps: what is kept need not be a prefix
        let length = file.metadata().map_err(io_error("read", &path))?.len();
        if length != kept.len() as u64 {
            replace(&path, &kept).map_err(io_error("write", &path))?;
            file = options.open(&path).map_err(io_error("open", &path))?;
        }
        file.seek(SeekFrom::End(0))
            .map_err(io_error("read", &path))?;
        Ok(Self { path, file })
    }

    /// Appends a record, in one write.
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

/// All records of a journal, oldest first. Half a line at its end, as a killed process leaves it, is
/// passed over; a journal that does not exist is empty.
///
/// # Errors
///
/// [`JournalError::Io`], or [`JournalError::Line`] if a line before the last is no record.
pub fn read_journal(path: impl AsRef<Path>) -> Result<Vec<Record>, JournalError> {
    let path = path.as_ref();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mut records = Vec::new();
    read_lines(path, &file, |record, _| records.push(record))?;
    Ok(records)
}

fn read_lines(
    path: &Path,
    file: &File,
    mut each: impl FnMut(Record, &[u8]),
) -> Result<(), JournalError> {
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        read.map_err(io_error("read", path))?;
        if bytes.last() != Some(&b'\n') {
            break;
        }
        let record = serde_json::from_slice(&bytes).map_err(|source| JournalError::Line {
            path: path.to_path_buf(),
            line,
            source,
        })?;
        each(record, &bytes);
    }
    Ok(())
}

/// Writes `bytes` beside `path` and renames.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("jsonl.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
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

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        write(&path, 0, &[step(1)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"{}\n");
        std::fs::write(&path, bytes).unwrap();

        let message = read_journal(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl:2: "), "{message}");
        assert!(Journal::open(&path, 9).is_err());
    }

    #[test]
    fn a_journal_that_does_not_exist_is_empty() {
        assert_eq!(read_journal("/nonexistent/metrics.jsonl").unwrap(), []);
    }
}
