//! A complete checkpoint, for reading.

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

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Compares every file with its digest.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] for the first that differs.
    pub fn verify(&self) -> Result<(), CheckpointError> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|file| file.verify(&self.path))
    }

    /// Compares one file with its digest.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if it differs, [`CheckpointError::NoSuchFile`].
    pub fn verify_file(&self, name: &str) -> Result<(), CheckpointError> {
        self.entry(name)?.verify(&self.path)
    }

    /// Opens a file of tensors.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`], or that of [`TensorFile::open`].
    pub fn tensors(&self, name: &str) -> Result<TensorFile, CheckpointError> {
        TensorFile::open(self.path.join(&self.entry(name)?.name))
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`], [`CheckpointError::Io`], or [`CheckpointError::Json`] if it is
    /// no `T`.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, CheckpointError> {
        read_json(&self.path.join(&self.entry(name)?.name))
    }

    /// The experiment that the run goes on with from here, its digest compared; none where the checkpoint does
    /// not say, which leaves that of the run.
    pub(super) fn config<C: DeserializeOwned>(&self) -> Result<Option<C>, CheckpointError> {
        if self.manifest.files.iter().all(|file| file.name != CONFIG) {
            return Ok(None);
        }
        self.verify_file(CONFIG)?;
        self.json(CONFIG).map(Some)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NoSuchFile`] or [`CheckpointError::Io`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let path = self.path.join(&self.entry(name)?.name);
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// The error of one of its files that is not what it was or should be.
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
