//! Removal of half-written shards from a cache.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::cache::LOCK;

/// Cache folders that this process is writing into.
static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Marks a cache as being written by this process, which holds its lock.
#[derive(Debug)]
pub(super) struct Building(PathBuf);

impl Building {
    /// Registers half-written files in `folder` as this process's own.
    pub(super) fn begin(folder: &Path) -> Self {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        built.push(folder.into());
        Self(folder.into())
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = built.iter().position(|folder| *folder == self.0) {
            built.swap_remove(at);
        }
    }
}

/// Removes half-written files of killed processes from a cache of tokenized text. Does nothing while another process
/// writes. Files that this process is writing are removed too, so it may be called by a process that is about to end.
pub fn sweep(folder: &Path) {
    if !folder.is_dir() {
        return;
    }
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true);
    let Ok(lock) = options.open(folder.join(LOCK)) else {
        return;
    };
    let built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.iter().any(|it| it == folder) || lock.try_lock().is_ok() {
        remove_unfinished(folder);
    }
}

fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let ending = path.extension();
        if ending.is_some_and(|ending| ending == "part" || ending == "spool") {
            // best effort; the next start tries again
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_writes_any_more_is_removed_and_shards_stay() {
        let folder = tempfile::tempdir().unwrap();
        let write = || {
            for name in ["a.shard", "b.part", "b.spool"] {
                fs::write(folder.path().join(name), name).unwrap();
            }
        };
        let left = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|name| name != LOCK).collect();
            names.sort();
            names
        };
        write();
        let other = fs::File::create(folder.path().join(LOCK)).unwrap();
        other.lock().unwrap();
        sweep(folder.path());
        assert_eq!(left(), ["a.shard", "b.part", "b.spool"]);
        other.unlock().unwrap();
        sweep(folder.path());
        assert_eq!(left(), ["a.shard"]);
    }
}
