//! Files that a run stores once rather than per checkpoint, such as its tokenizer: its weights are meaningless
//! without them.
//!
//! Every manifest holds their digests, which are compared when a run resumes and when its weights are loaded.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::disk::io_error;
use super::error::{CheckpointError, Damage};
use super::manifest::{FileEntry, Manifest, digest};
use super::run::{CONFIG, TOKENIZER};

/// Their names; a run has some of these files.
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

/// Sizes and digests of these files in `folder` as they are now.
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

/// Compares these files in `folder` with their digests in a checkpoint's manifest.
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

/// Shortens digests for display.
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
