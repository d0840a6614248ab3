//! A journal that another process is writing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::journal::{JournalError, io_error};
use super::record::Record;

/// Number of bytes by which a journal is known again.
const KNOWN: u64 = 256;

/// The records of a journal, read on as it grows. A journal that was cut or replaced, as by a resumed run, is read anew.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    records: Vec<Record>,
    /// Bytes of the whole lines that were read.
    read: u64,
    /// The last of these bytes.
    end: Vec<u8>,
    version: u64,
}

impl Tail {
    /// A journal of which nothing was read. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            records: Vec::new(),
            read: 0,
            end: Vec::new(),
            version: 0,
        }
    }

    /// Path of the journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All records that were read, oldest first. Lines that are no records are left out.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// A number that changes with the records.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Reads what has come since the last call.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`] if the journal exists and cannot be read.
    pub fn refresh(&mut self) -> Result<(), JournalError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget();
                return Ok(());
            }
            Err(error) => return Err(io_error("open", &self.path)(error)),
        };
        self.read_on(file).map_err(io_error("read", &self.path))
    }

    fn read_on(&mut self, mut file: File) -> io::Result<()> {
        if !self.is_continued(&mut file)? {
            self.forget();
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        bytes.truncate(end + 1);
        let lines = bytes.split(|byte| *byte == b'\n');
        let records = lines.filter_map(|line| serde_json::from_slice(line).ok());
        self.records.extend(records);
        self.read += bytes.len() as u64;
        self.end.extend_from_slice(&bytes);
        let surplus = self.end.len().saturating_sub(KNOWN as usize);
        self.end.drain(..surplus);
        self.version += 1;
        Ok(())
    }

    /// Whether the journal begins with what was read.
    fn is_continued(&self, file: &mut File) -> io::Result<bool> {
        if file.metadata()?.len() < self.read {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.read - self.end.len() as u64))?;
        let mut found = vec![0; self.end.len()];
        file.read_exact(&mut found)?;
        Ok(found == self.end)
    }

    fn forget(&mut self) {
        if self.read > 0 {
            let (path, version) = (self.path.clone(), self.version + 1);
            *self = Self {
                version,
                ..Self::new(path)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Journal, StepRecord, read_journal};

    fn step(step: u64) -> Record {
        Record::Step(StepRecord {
            step,
            loss: 2.0,
            ..Default::default()
        })
    }

    #[test]
    fn a_journal_is_followed_through_growth_damage_and_resumption() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut tail = Tail::new(&path);
        tail.refresh().unwrap();
        assert!(tail.records().is_empty());
        assert_eq!(tail.version(), 0);

        let mut journal = Journal::open(&path, 0).unwrap();
        let mut last = 0;
        for number in 1..=9 {
            journal.append(&step(number)).unwrap();
            tail.refresh().unwrap();
            assert_eq!(tail.records(), read_journal(&path).unwrap());
            assert!(tail.version() > last);
            last = tail.version();
        }
        // nothing new, and half of a line
        tail.refresh().unwrap();
        assert_eq!(tail.version(), last);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"no record\n{\"step\":{\"st");
        std::fs::write(&path, bytes).unwrap();
        tail.refresh().unwrap();
        assert_eq!(tail.records().len(), 9);

        // a resumed run cuts the journal, and may write as much as there was before the next look
        let mut journal = Journal::open(&path, 4).unwrap();
        for number in 5..=20 {
            journal.append(&step(number + 100)).unwrap();
        }
        tail.refresh().unwrap();
        assert_eq!(tail.records(), read_journal(&path).unwrap());
        assert_eq!(tail.records().len(), 20);

        std::fs::remove_file(&path).unwrap();
        tail.refresh().unwrap();
        assert!(tail.records().is_empty());
    }
}
