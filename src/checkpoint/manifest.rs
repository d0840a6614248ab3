//! `manifest.json`: the list of a checkpoint's files. It is written last, so a folder with it is complete.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::io_error;
use super::error::{CheckpointError, Damage};
use super::save::{step_of, to_json};

/// Name of the manifest file.
pub(super) const MANIFEST: &str = "manifest.json";

/// Version of the layout that this crate writes.
pub(super) const FORMAT: u32 = 1;

/// Description of a complete checkpoint: the content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Number of optimizer steps done.
    pub step: u64,
    /// When it was saved, in milliseconds since 1970.
    pub saved_at_ms: u64,
    /// Version of the crate that wrote it.
    pub crate_version: String,
    /// BLAKE3 of the run's `config.json` when the checkpoint was saved, in hex.
    pub config_digest: String,
    /// Loss on held-out text, if it was measured at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<ValidLoss>,
    /// Every other file of the checkpoint.
    pub files: Vec<FileEntry>,
    /// Files of the run that its weights depend on: configuration, tokenizer.
    #[serde(default)]
    pub beside: Vec<FileEntry>,
    /// BLAKE3 of this manifest without this field's value, in hex; empty in manifests of older versions.
    #[serde(default)]
    pub digest: String,
}

/// Loss on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidLoss {
    /// Mean loss in nats per token; finite.
    pub loss: f64,
    /// Identifies the text and how much of it was read; only losses with equal values are compared.
    pub on: String,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name in the checkpoint's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 digest, in hex.
    pub blake3: String,
}

impl Manifest {
    /// Serializes the manifest with its digest.
    pub(super) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, CheckpointError> {
        let undigested = Self {
            digest: String::new(),
            ..self.clone()
        };
        let bytes = to_json(path, &undigested)?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        to_json(
            path,
            &Self {
                digest,
                ..undigested
            },
        )
    }

    /// Reads the manifest of the checkpoint at `folder`; `None` if there is no such folder.
    pub(super) fn read(folder: &Path, step: u64) -> Result<Option<Self>, CheckpointError> {
        let path = folder.join(MANIFEST);
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        // a checkpoint that is being replaced is absent for a moment, so a second attempt may succeed
        let read = || fs::read(&path);
        let bytes = match read().or_else(|error| if missing(&error) { read() } else { Err(error) })
        {
            Ok(bytes) => bytes,
            // a folder gets its name when it is complete, so one without a manifest has lost it
            Err(error) if missing(&error) => {
                return if folder.is_dir() {
                    Err(damaged(&path, Damage::NoManifest))
                } else {
                    Ok(None)
                };
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let manifest = Self::parse(&bytes, step).map_err(|damage| damaged(&path, damage))?;
        Ok(Some(manifest))
    }

    fn parse(bytes: &[u8], step: u64) -> Result<Self, Damage> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| Damage::Manifest {
            reason: error.to_string(),
        })?;
        if manifest.format != FORMAT {
            let reason = format!("layout version {}, expected {FORMAT}", manifest.format);
            return Err(Damage::Manifest { reason });
        }
        if !manifest.is_file(bytes) {
            let reason = "its digest is not that of its content".into();
            return Err(Damage::Manifest { reason });
        }
        if manifest.step != step {
            return Err(Damage::Step {
                found: manifest.step,
                expected: step,
            });
        }
        Ok(manifest)
    }

    /// Whether all files exist with their sizes.
    fn is_whole(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| {
            let found = fs::metadata(folder.join(&file.name));
            found.is_ok_and(|found| found.len() == file.bytes)
        })
    }

    /// Whether `bytes` match the manifest's own digest.
    fn is_file(&self, bytes: &[u8]) -> bool {
        let digest = self.digest.as_bytes();
        if digest.is_empty() {
            return true;
        }
        let place = bytes.windows(digest.len()).rposition(|it| it == digest);
        place.is_some_and(|at| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&bytes[..at]);
            hasher.update(&bytes[at + digest.len()..]);
            hasher.finalize().to_hex().as_bytes() == digest
        })
    }
}

/// Error of a damaged file in a checkpoint's folder.
pub(super) fn damaged(path: &Path, damage: Damage) -> CheckpointError {
    CheckpointError::Damaged {
        path: path.into(),
        damage,
        earlier: path.parent().and_then(earlier),
    }
}

/// Step of the newest intact checkpoint before the one at `folder`.
fn earlier(folder: &Path) -> Option<u64> {
    let step = step_of(folder.file_name()?.to_str()?)?;
    let siblings = fs::read_dir(folder.parent()?).ok()?.flatten();
    let whole = siblings.filter_map(|entry| {
        let sibling = step_of(entry.file_name().to_str()?).filter(|it| *it < step)?;
        let bytes = fs::read(entry.path().join(MANIFEST)).ok()?;
        let manifest = Manifest::parse(&bytes, sibling).ok()?;
        manifest.is_whole(&entry.path()).then_some(sibling)
    });
    whole.max()
}

impl FileEntry {
    /// Checks the size and then the digest of the file in `folder`.
    pub(super) fn verify(&self, folder: &Path) -> Result<(), CheckpointError> {
        let path = folder.join(&self.name);
        let damaged = |damage| damaged(&path, damage);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(Damage::Missing {
                    expected: self.bytes,
                }));
            }
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let found = file.metadata().map_err(io_error("read", &path))?.len();
        if found != self.bytes {
            return Err(damaged(Damage::Size {
                found,
                expected: self.bytes,
            }));
        }
        let found = digest(&mut file).map_err(io_error("read", &path))?;
        if found != self.blake3 {
            return Err(damaged(Damage::Digest {
                found,
                expected: self.blake3.clone(),
            }));
        }
        Ok(())
    }
}

pub(super) fn digest(file: &mut File) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_a_manifest_is_blamed_on_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST);
        let entry = |name: &str| FileEntry {
            name: name.into(),
            bytes: 7,
            blake3: blake3::hash(name.as_bytes()).to_hex().to_string(),
        };
        let manifest = Manifest {
            format: FORMAT,
            step: 3,
            saved_at_ms: 1,
            crate_version: "0".into(),
            config_digest: "c".into(),
            valid: None,
            files: vec![entry("model.safetensors")],
            beside: vec![entry("config.json")],
            digest: String::new(),
        };
        let sound = manifest.to_bytes(&path).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Manifest::read(folder.path(), 3)
        };
        let digested = read(&sound).unwrap().unwrap();
        assert_eq!(digested.files, manifest.files);
        assert_eq!(digested.to_bytes(&path).unwrap(), sound);
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            match read(&bytes) {
                Err(error) => assert!(error.to_string().contains(MANIFEST), "{at}: {error}"),
                // the flip changed the key `digest`, so the file reads as an older one without it
                Ok(found) => assert_eq!(found.unwrap().files, manifest.files, "{at}"),
            }
        }
        // a manifest of an older version, without digests
        let mut old = serde_json::to_value(&manifest).unwrap();
        let fields = old.as_object_mut().unwrap();
        fields.remove("digest");
        fields.remove("beside");
        read(old.to_string().as_bytes()).unwrap();
    }
}
