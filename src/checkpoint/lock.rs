//! One run, one process: who writes into a run holds the lock on its folder.
//!
//! The lock is the operating system's and falls with the process, however it ends; the file `.lock` that
//! it is on stays and means nothing by itself. Readers take none.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::disk::io_error;
use super::error::CheckpointError;

/// Name of the file.
pub(super) const LOCK: &str = ".lock";

/// Held by the one process that writes into a run.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock on the run in `folder`, and writes down for others whose it is.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::InUse`] if another process has it, [`CheckpointError::Io`] if there can be no such file.
    pub(super) fn take(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io_error("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::InUse {
                    path: folder.into(),
                    pid: fs::read_to_string(&path)
                        .ok()
                        .and_then(|text| text.trim().parse().ok()),
                });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(
                    "the file system of {} has no locks: take care that no second process trains this run",
                    folder.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        // only the text of a message
        let _ = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::take(folder.path()).unwrap();
        let refused = RunLock::take(folder.path()).unwrap_err();
        let expected = format!("another process (pid {}) is at work", std::process::id());
        assert!(refused.to_string().contains(&expected), "{refused}");
        drop(first);
        // a child that another test is about to start may hold a copy for a moment
        for _ in 0..200 {
            if RunLock::take(folder.path()).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the lock outlives its owner");
    }
}
