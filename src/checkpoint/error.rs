//! Errors of a run on disk, each with a path and a remedy.

use std::io;
use std::path::PathBuf;

use burn::tensor::DType;
use safetensors::SafeTensorError;

use crate::model::weights::WeightError;

/// An error of this module; every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The failed operation: `create`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A checkpoint could not be written. Earlier checkpoints are unchanged.
    #[error(
        "checkpoint of step {step} was not saved, {}; make room or choose another folder: {source}",
        match earlier {
            Some(earlier) => format!("that of step {earlier} is intact"),
            None => "and there is no earlier one".into(),
        }
    )]
    NotSaved {
        /// Step of the checkpoint.
        step: u64,
        /// Step of the newest complete checkpoint, if there is one.
        earlier: Option<u64>,
        /// The first failure.
        source: Box<CheckpointError>,
    },
    /// The folder holds a run already.
    #[error("{} holds a run already; resume it or choose another folder", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds other files.
    #[error(
        "{} is not empty and holds no run (found `{found}`); choose another folder",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One thing that is in it.
        found: String,
    },
    /// The folder is not a run.
    #[error(
        "{} is not a run: `{missing}` is missing; give a folder that training wrote",
        path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The missing entry that every run has.
        missing: &'static str,
    },
    /// The folder is left over from a start that was killed.
    #[error(
        "{} is no run yet, its start was interrupted: begin it again by `train --out {}`, without `--resume`",
        path.display(), path.display()
    )]
    Unmade {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is writing into the run.
    #[error(
        "another process{} is at work on run {}: wait until it has ended, or stop it first",
        pid.map_or_else(String::new, |pid| format!(" (pid {pid})")), path.display()
    )]
    InUse {
        /// The run.
        path: PathBuf,
        /// The other process's id, if it is known.
        pid: Option<u32>,
    },
    /// A file that the run stores once has changed since the checkpoint was saved.
    #[error(
        "{} is not what the weights of step {step} were trained with: {damage}; restore it, or begin another run \
         with it (`train --config FILE` or `--tokenizer FILE`)",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Step of the checkpoint.
        step: u64,
        /// How the file differs.
        damage: Damage,
    },
    /// A file of a checkpoint differs from the one that was saved.
    #[error("{} is damaged: {damage}; restore it{}", path.display(), remedy(*earlier))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How the file differs.
        damage: Damage,
        /// Step of the newest intact checkpoint before this one, if there is one.
        earlier: Option<u64>,
    },
    /// A JSON file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// The checkpoint has no file of this name.
    #[error("{} has no file `{file}`, it has: {}", checkpoint.display(), present.join(", "))]
    NoSuchFile {
        /// Folder of the checkpoint.
        checkpoint: PathBuf,
        /// The file asked for.
        file: String,
        /// The files it has.
        present: Vec<String>,
    },
    /// An invalid or duplicate name for a file of a checkpoint.
    #[error("`{name}` cannot name a file of a checkpoint: {reason}")]
    FileName {
        /// The name.
        name: String,
        /// Why the name is invalid.
        reason: &'static str,
    },
    /// Not a safetensors file.
    #[error("{} is no safetensors file: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: SafeTensorError,
    },
    /// The tensors do not fit the model.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// Two tensors have the same name.
    #[error("two tensors are named `{name}`, expected unique names")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// An element type that safetensors cannot hold.
    #[error("tensor `{name}` has type {dtype:?}, which a safetensors file cannot hold")]
    UnsupportedDtype {
        /// Path of the tensor in the module.
        name: String,
        /// Its type.
        dtype: DType,
    },
}

/// Remedies for a damaged checkpoint besides restoring it.
fn remedy(earlier: Option<u64>) -> String {
    match earlier {
        Some(step) => format!(", or delete that step's folder to go on from step {step}"),
        None => "; there is no earlier checkpoint that is whole".into(),
    }
}

/// How a file differs from what was saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is missing.
    #[error("the file is missing, expected {expected} bytes")]
    Missing {
        /// Size in the manifest.
        expected: u64,
    },
    /// The manifest is missing, which lists the checkpoint's files.
    #[error("the file is missing, and with it what the checkpoint consists of")]
    NoManifest,
    /// The size differs.
    #[error("found {found} bytes, expected {expected}")]
    Size {
        /// Size on disk.
        found: u64,
        /// Size in the manifest.
        expected: u64,
    },
    /// The bytes differ.
    #[error("found digest {found}, expected {expected}")]
    Digest {
        /// BLAKE3 of the file on disk, in hex.
        found: String,
        /// BLAKE3 in the manifest, in hex.
        expected: String,
    },
    /// The manifest cannot be parsed.
    #[error("unreadable manifest ({reason})")]
    Manifest {
        /// The parser's reason.
        reason: String,
    },
    /// The manifest belongs to another step.
    #[error("found step {found}, expected {expected} from the folder's name")]
    Step {
        /// Step in the manifest.
        found: u64,
        /// Step in the folder's name.
        expected: u64,
    },
    /// Values of the file contradict each other.
    #[error("its numbers contradict each other: {0}")]
    Contradiction(String),
}
