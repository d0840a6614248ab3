//! A run on disk: its folder, its checkpoints, and tensors in safetensors files.
//!
//! ```text
//! runs/first/
//!   config.json  tokenizer.json  metrics.jsonl  report.html
//!   checkpoints/step-0000400/{model.safetensors, optimizer.safetensors, state.json, config.json, manifest.json}
//! ```
//!
//! `config.json` of the run is what it began with. What it goes on with stands in each checkpoint.
//!
//! Saving is atomic: whoever kills the process, or fills the disk, loses the save that was running and
//! nothing else. A manifest with a digest of every file tells a complete checkpoint from a damaged one, and with
//! those of the run's own files whether these are still what its weights were trained with. A lock keeps a second
//! process from writing into the run.
//! It does *not* know models, optimizers or configs: a model is any burn `Module`, a config is anything
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
