//! A run on disk: its folder, its checkpoints, and tensors in safetensors files.
//!
//! ```text
//! runs/first/
//!   config.json  tokenizer.json  metrics.jsonl  report.html
//!   checkpoints/step-0000400/{model.safetensors, optimizer.safetensors, state.json, config.json, manifest.json}
//! ```
//!
//! The run's `config.json` is the experiment at the start; each checkpoint has the experiment that was in force when
//! it was saved.
//!
//! Saving is atomic: if the process is killed or the disk is full, only the save in progress is lost. A manifest
//! holds the digest of every file, which tells complete checkpoints from damaged ones and detects changes to the
//! run's own files, such as its tokenizer. A lock keeps a second process from writing into the run.
//!
//! This module does *not* know models, optimizers or configs: a model is any burn `Module`, a config is anything that
//! serde can write.

mod beginning;
mod beside;
mod disk;
mod error;
mod history;
mod lock;
mod manifest;
mod run;
mod save;
mod saved;
mod tensor_file;

#[cfg(test)]
mod crash;

pub use beginning::Beginning;
pub use error::{CheckpointError, Damage};
pub use history::{Intact, Keep};
pub use manifest::{FileEntry, Manifest, ValidLoss};
pub use run::Run;
pub use save::Writer;
pub use saved::Checkpoint;
pub use tensor_file::TensorFile;
