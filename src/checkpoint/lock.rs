//! The lock on a run's folder: only one process writes into a run.
//!
//! It is an operating system's file lock on `.lock`, released however the process ends; the file itself stays and
//! means nothing. Readers take no lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::disk::io_error;
use super::error::CheckpointError;

/// Name of the lock file.
pub(super) const LOCK: &str = ".lock";

/// The lock on a run, held by the one process that writes into it.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks the run in `folder` and writes this process's id into the lock file for others to read.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::InUse`] if another process holds the lock, [`CheckpointError::Io`] if the file cannot be
    /// created.
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
        // best effort: it only helps the message of another process
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
