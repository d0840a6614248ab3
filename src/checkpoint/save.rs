//! Atomic saving of a checkpoint.
//!
//! Files are written to `checkpoints/.step-…-<pid>.tmp` and flushed, the manifest last; then the folder is renamed
//! and its parent flushed. Left-over files of a killed process start with a dot; [`sweep`] removes them when the run
//! is next opened or saved.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::disk::{Disk, DiskFile, io_error};
use super::error::CheckpointError;
use super::manifest::{FORMAT, FileEntry, MANIFEST, Manifest, ValidLoss};
use super::run::CONFIG;
use super::tensor_file::write_tensors;
use crate::model::weights::NamedTensor;

/// Extension of a folder that is being written or deleted.
const TEMPORARY: &str = "tmp";
/// Extension of a complete checkpoint that is being replaced by another of the same step.
const REPLACED: &str = "replaced";
const LOCK: &str = ".lock";

/// Receives the files of one checkpoint, in any order, each under its own name.
#[derive(Debug)]
pub struct Writer<'a> {
    disk: &'a Disk,
    folder: &'a Path,
    files: Vec<FileEntry>,
    valid: Option<ValidLoss>,
}

impl Writer<'_> {
    /// Stores the loss on held-out text in the checkpoint's manifest.
    pub fn valid(&mut self, loss: ValidLoss) {
        self.valid = Some(loss);
    }

    /// Writes named tensors as a safetensors file, each in its own element type, one at a time.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] for an I/O error, two tensors of one name, or a type that the format lacks.
    pub fn tensors<'t, T: Into<NamedTensor<'t>>>(
        &mut self,
        name: &str,
        tensors: impl IntoIterator<Item = T>,
    ) -> Result<(), CheckpointError> {
        let tensors = tensors.into_iter().map(Into::into).collect();
        self.file(name, |file| write_tensors(file, tensors))
    }

    /// Writes `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] for an I/O error or a value that JSON cannot hold.
    pub fn json<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), CheckpointError> {
        let bytes = to_json(&self.folder.join(name), value)?;
        self.bytes(name, &bytes)
    }

    /// Writes `bytes` unchanged.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] for an I/O error or an invalid file name.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file(name, |file| file.write(bytes))
    }

    fn file(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut DiskFile) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let refuse = |reason| {
            Err(CheckpointError::FileName {
                name: name.into(),
                reason,
            })
        };
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return refuse("it must be a plain file name");
        }
        if name == MANIFEST || self.files.iter().any(|file| file.name == name) {
            return refuse("it is taken");
        }
        let mut file = self.disk.create_file(&self.folder.join(name))?;
        fill(&mut file)?;
        let (bytes, blake3) = file.finish()?;
        self.files.push(FileEntry {
            name: name.into(),
            bytes,
            blake3,
        });
        Ok(())
    }
}

/// `value` as indented JSON with a final newline.
pub(super) fn to_json<T: Serialize + ?Sized>(
    path: &Path,
    value: &T,
) -> Result<Vec<u8>, CheckpointError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| CheckpointError::Json {
        path: path.to_path_buf(),
        source,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Name of a checkpoint's folder.
pub(super) fn folder_name(step: u64) -> String {
    format!("step-{step:07}")
}

/// Step of the checkpoint in a folder of this name; `None` for other folders.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

fn hidden(checkpoints: &Path, step: u64, ending: &str) -> PathBuf {
    let name = folder_name(step);
    checkpoints.join(format!(".{name}-{}.{ending}", std::process::id()))
}

/// Writes the checkpoint of `step` into the folder `checkpoints`.
pub(super) fn save(
    disk: &Disk,
    checkpoints: &Path,
    step: u64,
    beside: Vec<FileEntry>,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), CheckpointError>,
) -> Result<Manifest, CheckpointError> {
    let _lock = Lock::wait(checkpoints)?;
    sweep(checkpoints);
    let temporary = Temporary {
        disk,
        folder: hidden(checkpoints, step, TEMPORARY),
    };
    disk.create_dir(&temporary.folder)?;
    let mut writer = Writer {
        disk,
        folder: &temporary.folder,
        files: Vec::new(),
        valid: None,
    };
    fill(&mut writer)?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let manifest = Manifest {
        format: FORMAT,
        step,
        saved_at_ms: now.map_or(0, |elapsed| elapsed.as_millis() as u64),
        crate_version: env!("CARGO_PKG_VERSION").into(),
        config_digest: beside
            .iter()
            .find(|file| file.name == CONFIG)
            .map_or_else(String::new, |file| file.blake3.clone()),
        valid: writer.valid,
        files: writer.files,
        beside,
        digest: String::new(),
    };
    let path = temporary.folder.join(MANIFEST);
    let mut file = disk.create_file(&path)?;
    file.write(&manifest.to_bytes(&path)?)?;
    file.finish()?;
    disk.sync_dir(&temporary.folder)?;
    publish(disk, checkpoints, step, &temporary.folder)?;
    Ok(manifest)
}

/// Renames a complete temporary folder to its final name, replacing a checkpoint of the same step.
fn publish(
    disk: &Disk,
    checkpoints: &Path,
    step: u64,
    temporary: &Path,
) -> Result<(), CheckpointError> {
    let target = checkpoints.join(folder_name(step));
    let replaced = hidden(checkpoints, step, REPLACED);
    let replaces = target.exists();
    if replaces {
        disk.rename(&target, &replaced)?;
    }
    if let Err(error) = disk.rename(temporary, &target) {
        if replaces {
            // if this fails too, `sweep` restores it
            let _ = disk.rename(&replaced, &target);
        }
        return Err(error);
    }
    disk.sync_dir(checkpoints)?;
    if replaces && let Err(error) = disk.remove_dir(&replaced) {
        tracing::warn!("{error}; it takes room, nothing else");
    }
    Ok(())
}

/// Deletes the checkpoint of `step`. It is renamed first, so that a half-deleted folder is never read as a
/// checkpoint.
pub(super) fn delete(disk: &Disk, checkpoints: &Path, step: u64) -> Result<(), CheckpointError> {
    let _lock = Lock::wait(checkpoints)?;
    let doomed = hidden(checkpoints, step, TEMPORARY);
    disk.rename(&checkpoints.join(folder_name(step)), &doomed)?;
    disk.remove_dir(&doomed)
}

/// Removes left-over files of killed processes, unless a save is running. Never fails: a read-only folder can still
/// be read.
pub(super) fn sweep_if_idle(checkpoints: &Path) {
    if let Some(_lock) = Lock::now(checkpoints) {
        sweep(checkpoints);
    }
}

/// [`sweep_if_idle`] for the holder of the lock.
fn sweep(checkpoints: &Path) {
    let Ok(entries) = fs::read_dir(checkpoints) else {
        return;
    };
    let names: BTreeSet<_> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    for name in &names {
        let Some((stem, ending)) = name.strip_prefix('.').and_then(|it| it.rsplit_once('.')) else {
            continue;
        };
        let Some((folder, _pid)) = stem.rsplit_once('-') else {
            continue;
        };
        if step_of(folder).is_none() || ![TEMPORARY, REPLACED].contains(&ending) {
            continue;
        }
        let path = checkpoints.join(name);
        // the process was killed between the two renames of `publish`, so the old checkpoint is restored
        let swept = if ending == REPLACED && !names.contains(folder) {
            fs::rename(&path, checkpoints.join(folder))
        } else {
            fs::remove_dir_all(&path)
        };
        if let Err(error) = swept {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Removes the folder when dropped, unless it was renamed.
struct Temporary<'a> {
    disk: &'a Disk,
    folder: PathBuf,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.folder.exists()
            && let Err(error) = self.disk.remove_dir(&self.folder)
        {
            tracing::warn!("{error}; it is removed when the run is next opened");
        }
    }
}

/// Lock on the checkpoints' folder, held while they are written or removed and released when the process dies.
struct Lock {
    _file: File,
}

impl Lock {
    fn wait(checkpoints: &Path) -> Result<Self, CheckpointError> {
        let path = checkpoints.join(LOCK);
        let file = File::create(&path).map_err(io_error("create", &path))?;
        match file.lock() {
            Ok(()) => Ok(Self { _file: file }),
            // some network file systems have no locks; then only the process's id in the name separates saves
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Self { _file: file }),
            Err(error) => Err(io_error("lock", &path)(error)),
        }
    }

    fn now(checkpoints: &Path) -> Option<Self> {
        let file = File::create(checkpoints.join(LOCK)).ok()?;
        match file.try_lock() {
            Ok(()) => Some(Self { _file: file }),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_folder_names_are_inverse() {
        for step in [0, 400, 9_999_999, 10_000_000] {
            assert_eq!(step_of(&folder_name(step)), Some(step));
        }
        for name in ["step-400", ".step-0000400", "step-", "step-0000400.bak"] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_name_stays_inside_the_checkpoint_and_is_used_once() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let result = save(&Disk::default(), folder.path(), 1, Vec::new(), |writer| {
                writer.bytes("a.json", b"{}")?;
                writer.bytes(name, b"{}")
            });
            assert!(
                matches!(result, Err(CheckpointError::FileName { .. })),
                "{name}: {result:?}"
            );
        };
        for name in ["a.json", "manifest.json", "../a", "", ".hidden"] {
            refused(name);
        }
    }
}
