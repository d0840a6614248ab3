//! The folder of tokenized text, kept between runs and shared by all running processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::newest::RUNS;
use crate::data::sweep;

/// File on which every process that uses the folder holds a shared lock.
const USERS: &str = ".users";

/// Size of tokenized text, in bytes, from which it is kept even if its run could not start.
const WORTH_KEEPING_BYTES: u64 = 64 << 20;

/// The folder of tokenized text, in use.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Folders that did not exist before, innermost first.
    made: Vec<PathBuf>,
    users: Option<File>,
}

impl Cache {
    /// Creates the folder if needed, and removes left-over files of killed processes.
    pub(super) fn open() -> Result<Self, Failure> {
        let folder = Path::new(RUNS).join(".cache");
        let missing = |path: &&Path| !path.exists() && !path.as_os_str().is_empty();
        let made = folder.ancestors().take_while(missing);
        let made = made.map(Path::to_path_buf).collect();
        fs::create_dir_all(&folder).or_input()?;
        let users = File::create(folder.join(USERS)).ok();
        // without locks, as on some network file systems, nothing is removed
        let users = users.filter(|file| file.lock_shared().is_ok());
        sweep(&folder);
        Ok(Self {
            folder,
            made,
            users,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what a failed start has created, unless another process uses the folder too.
    pub(super) fn take_back(&self) {
        sweep(&self.folder);
        let Some(users) = &self.users else { return };
        if self.made.is_empty() || users.unlock().is_err() || users.try_lock().is_err() {
            return;
        }
        if self.tokenized_bytes() < WORTH_KEEPING_BYTES {
            let _ = fs::remove_dir_all(&self.folder);
        }
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }

    fn tokenized_bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let shards = entries.filter(|entry| {
            let name = entry.file_name();
            Path::new(&name).extension().is_some_and(|it| it == "shard")
        });
        let sizes = shards.filter_map(|entry| entry.metadata().ok());
        sizes.map(|metadata| metadata.len()).sum()
    }
}
