//! The files that a run keeps once and not in each checkpoint, without which its weights mean something else.
//!
//! Every manifest has their digests. They are compared when a run goes on and when its weights are used.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::disk::io_error;
use super::error::{CheckpointError, Damage};
use super::manifest::{FileEntry, Manifest, digest};
use super::run::{CONFIG, TOKENIZER};

/// Their names; a run has some of them.
pub(super) const BESIDE: [&str; 8] = [
    CONFIG,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "origin.json",
];

/// The files of the run in `folder` as they are now.
pub(super) fn entries(folder: &Path) -> Result<Vec<FileEntry>, CheckpointError> {
    let entry = |name: &&str| {
        let path = folder.join(name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(io_error("open", &path)(error))),
        };
        let bytes = file.metadata().map(|it| it.len());
        let read = bytes.and_then(|bytes| Ok((bytes, digest(&mut file)?)));
        let named = read.map(|(bytes, blake3)| FileEntry {
            name: (*name).into(),
            bytes,
            blake3,
        });
        Some(named.map_err(io_error("read", &path)))
    };
    BESIDE.iter().filter_map(entry).collect()
}

/// Compares the files of the run in `folder` with what they were for a checkpoint.
pub(super) fn verify(folder: &Path, manifest: &Manifest) -> Result<(), CheckpointError> {
    for entry in &manifest.beside {
        entry.verify(folder).map_err(|error| match error {
            CheckpointError::Damaged { path, damage, .. } => CheckpointError::Changed {
                path,
                step: manifest.step,
                damage: shortened(damage),
            },
            error => error,
        })?;
    }
    Ok(())
}

/// Digests that are for people.
fn shortened(damage: Damage) -> Damage {
    let short = |digest: String| digest.chars().take(12).collect();
    match damage {
        Damage::Digest { found, expected } => Damage::Digest {
            found: short(found),
            expected: short(expected),
        },
        damage => damage,
    }
}
