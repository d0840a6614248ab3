//! The file operations of a save, each of which tests can make fail.
//!
//! Every error names the path. This module does not know the content of the files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;

type Result<T> = std::result::Result<T, CheckpointError>;

/// The file system, or in tests one that breaks on demand.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) fault: Option<std::sync::Arc<super::crash::Fault>>,
}

/// A file being written, with a running digest.
#[derive(Debug)]
pub(super) struct DiskFile {
    disk: Disk,
    path: PathBuf,
    file: BufWriter<File>,
    digest: blake3::Hasher,
    bytes: u64,
}

/// Adds the action and the path to an I/O error.
pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io {
        action,
        path,
        source,
    }
}

impl Disk {
    /// Runs before every operation; tests inject failures here.
    fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fault) = &self.fault {
            return fault.step();
        }
        Ok(())
    }

    pub(super) fn create_dir(&self, path: &Path) -> Result<()> {
        self.step()
            .and_then(|()| fs::create_dir(path))
            .map_err(io_error("create", path))
    }

    pub(super) fn create_file(&self, path: &Path) -> Result<DiskFile> {
        let file = self
            .step()
            .and_then(|()| File::create(path))
            .map_err(io_error("create", path))?;
        Ok(DiskFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 16, file),
            digest: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// Writes `bytes` under a temporary name and renames it to `path`: readers see all of it or none.
    pub(super) fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        let mut file = self.create_file(&temporary)?;
        file.write(bytes)?;
        file.finish()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step()
            .and_then(|()| fs::rename(from, to))
            .map_err(io_error("rename", from))
    }

    /// Makes the entries of a folder durable, where the system can.
    pub(super) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.step().map_err(io_error("sync", path))?;
        #[cfg(unix)]
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(io_error("sync", path))?;
        Ok(())
    }

    /// Removes a folder, file by file.
    pub(super) fn remove_dir(&self, path: &Path) -> Result<()> {
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                self.step()?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?
                } else {
                    fs::remove_file(entry.path())?
                }
            }
            self.step()?;
            fs::remove_dir(path)
        };
        remove().map_err(io_error("remove", path))
    }
}

impl DiskFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.disk.step() {
            #[cfg(test)]
            self.tear(bytes);
            return Err(io_error("write", &self.path)(error));
        }
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(io_error("write", &self.path))
    }

    /// Writes half of `bytes`, since a process may die in the middle of a write.
    #[cfg(test)]
    fn tear(&mut self, bytes: &[u8]) {
        let _ = self.file.write_all(&bytes[..bytes.len() / 2]);
        let _ = self.file.flush();
    }

    /// Flushes the file to the disk; returns its size in bytes and its digest.
    pub(super) fn finish(mut self) -> Result<(u64, String)> {
        self.disk
            .step()
            .and_then(|()| self.file.flush())
            .map_err(io_error("write", &self.path))?;
        self.disk
            .step()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(io_error("sync", &self.path))?;
        Ok((self.bytes, self.digest.finalize().to_hex().to_string()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_named_with_the_systems_reason() {
        let mut file = Disk::default().create_file(Path::new("/dev/full")).unwrap();
        let error = file
            .write(&[0; 1 << 17])
            .and_then(|()| file.finish().map(drop))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write /dev/full: No space left on device (os error 28)"
        );
    }
}
