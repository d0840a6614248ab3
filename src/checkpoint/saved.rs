//! A complete checkpoint, opened for reading.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::disk::io_error;
use super::error::{CheckpointError, Damage};
use super::manifest::{self, FileEntry, Manifest};
use super::run::CONFIG;
use super::tensor_file::TensorFile;

/// One complete checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// The checkpoint at `path`, if there is one.
    pub(super) fn open(path: PathBuf, step: u64) -> Result<Option<Self>, CheckpointError> {
        let manifest = Manifest::read(&path, step)?;
        Ok(manifest.map(|manifest| Self::new(path, manifest)))
    }

    pub(super) fn new(path: PathBuf, manifest: Manifest) -> Self {
        Self { path, manifest }
    }

    /// Optimizer steps done.
    pub fn step(&self) -> u64 {
        self.manifest.step
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Checks the size and digest of every file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] for the first that differs.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|file| file.verify(&self.path))
    }

    /// Checks the size and digest of one file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if it differs, [`CheckpointError::NoSuchFile`] if the checkpoint has no such
    /// file.
    pub fn verify_file(&self, name: &str) -> Result<(), CheckpointError> {
        self.entry(name)?.verify(&self.path)
    }

    /// Opens a safetensors file of the checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`], or the errors of [`TensorFile::open`].
    pub fn tensors(&self, name: &str) -> Result<TensorFile, CheckpointError> {
        TensorFile::open(self.path.join(&self.entry(name)?.name))
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`], [`CheckpointError::Io`], or [`CheckpointError::Json`] if it cannot be parsed
    /// as `T`.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, CheckpointError> {
        read_json(&self.path.join(&self.entry(name)?.name))
    }

    /// Reads and verifies the experiment in force at this checkpoint; `None` if the checkpoint has none, so that the
    /// run's holds.
    pub(super) fn config<C: DeserializeOwned>(&self) -> Result<Option<C>, CheckpointError> {
        if self.manifest.files.iter().all(|file| file.name != CONFIG) {
            return Ok(None);
        }
        self.verify_file(CONFIG)?;
        self.json(CONFIG).map(Some)
    }

    /// Reads a file as bytes.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`] or [`CheckpointError::Io`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let path = self.path.join(&self.entry(name)?.name);
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// Error of a damaged file of this checkpoint.
    pub fn damaged(&self, name: &str, damage: Damage) -> CheckpointError {
        manifest::damaged(&self.path.join(name), damage)
    }

    fn entry(&self, name: &str) -> Result<&FileEntry, CheckpointError> {
        let files = &self.manifest.files;
        files
            .iter()
            .find(|file| file.name == name)
            .ok_or_else(|| CheckpointError::NoSuchFile {
                checkpoint: self.path.clone(),
                file: name.into(),
                present: files.iter().map(|file| file.name.clone()).collect(),
            })
    }
}

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Json {
        path: path.to_path_buf(),
        source,
    })
}
