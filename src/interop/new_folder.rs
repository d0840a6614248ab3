//! Atomic writing of a folder: under a temporary name, then renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use super::InteropError;
use super::hugging_face::{io, malformed};

/// A hidden folder that is renamed to the target at the end, or removed if that fails.
#[derive(Debug)]
pub(super) struct NewFolder {
    path: PathBuf,
}

impl NewFolder {
    /// Refuses a target that exists, unless it is an empty folder.
    pub(super) fn refuse_filled(target: &Path) -> Result<(), InteropError> {
        let found = match fs::read_dir(target).map(Iterator::count) {
            Err(_) if target.symlink_metadata().is_ok() => "a file that exists",
            Err(_) => return Ok(()),
            Ok(0) => return Ok(()),
            Ok(_) => "a folder that is not empty",
        };
        Err(malformed(target, found, "no such folder, or an empty one"))
    }

    /// Creates the hidden folder.
    pub(super) fn beside(target: &Path) -> Result<Self, InteropError> {
        let Some(name) = target.file_name() else {
            return Err(malformed(
                target,
                "no folder name",
                "a path that ends in one",
            ));
        };
        let parent = parent(target);
        fs::create_dir_all(parent).map_err(io(parent))?;
        let name = name.to_string_lossy();
        let path = parent.join(format!(".{name}.{}.partial", std::process::id()));
        fs::create_dir(&path).map_err(io(&path))?;
        Ok(Self { path })
    }

    /// Path of the hidden folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files, given by name and content. Errors name `target`.
    pub(super) fn write_files(
        &self,
        target: &Path,
        files: &[(String, Vec<u8>)],
    ) -> Result<(), InteropError> {
        for (name, content) in files {
            let names = Path::new(name).components();
            let plain = names
                .clone()
                .all(|name| matches!(name, Component::Normal(_)));
            if !plain || names.count() == 0 {
                let found = format!("file `{name}`");
                return Err(malformed(target, found, "a path within the folder"));
            }
            self.write_file(name, content)?;
        }
        Ok(())
    }

    /// Writes one file, which must not exist yet.
    pub(super) fn write_file(&self, name: &str, content: &[u8]) -> Result<(), InteropError> {
        let path = self.path.join(name);
        fs::create_dir_all(parent(&path)).map_err(io(&path))?;
        let mut file = File::create_new(&path).map_err(io(&path))?;
        file.write_all(content).map_err(io(&path))?;
        file.sync_all().map_err(io(&path))
    }

    /// Moves files to their targets in this order. None of the targets may exist.
    pub(super) fn move_out<'a>(
        self,
        files: impl Iterator<Item = (&'a str, PathBuf)>,
    ) -> Result<(), InteropError> {
        for (name, target) in files {
            fs::rename(self.path.join(name), &target).map_err(io(&target))?;
            sync_folder(parent(&target))?;
        }
        Ok(())
    }

    /// Renames the folder to the target.
    pub(super) fn rename(self, target: &Path) -> Result<(), InteropError> {
        sync_folder(&self.path)?;
        // removes an empty folder; if the folder is not empty, it stays and the rename fails
        let _ = fs::remove_dir(target);
        fs::rename(&self.path, target).map_err(io(target))?;
        sync_folder(parent(target))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // does nothing if the folder was renamed
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The parent folder of a path.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the entries of a folder durable; only Unix supports it.
fn sync_folder(path: &Path) -> Result<(), InteropError> {
    match cfg!(unix) {
        true => File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(io(path)),
        false => Ok(()),
    }
}
