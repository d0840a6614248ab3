//! The embedded corpus: English text of ten domains, written for this crate.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;

const TRAIN: &str = include_str!("../../data/train.jsonl");
const VALID: &str = include_str!("../../data/valid.jsonl");

/// Paths of the embedded corpus on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedCorpus {
    /// File of the training documents.
    pub train: PathBuf,
    /// File of the validation documents.
    pub valid: PathBuf,
}

impl EmbeddedCorpus {
    /// Writes the corpus into the folder `cache`, unless it is already there.
    ///
    /// # Errors
    ///
    /// [`DataError::Cache`] if the folder cannot be written to.
    pub fn unpack(cache: &Path) -> Result<Self, DataError> {
        let folder = cache.join("embedded");
        Ok(Self {
            train: unpack(&folder, "train.jsonl", TRAIN)?,
            valid: unpack(&folder, "valid.jsonl", VALID)?,
        })
    }
}

fn unpack(folder: &Path, name: &str, text: &str) -> Result<PathBuf, DataError> {
    let path = folder.join(name);
    let failed = |source| DataError::Cache {
        path: path.clone(),
        source,
    };
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let temporary = folder.join(format!(".{name}-{}.tmp", std::process::id()));
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_again_leaves_the_files_as_they_are_and_mends_damaged_ones() {
        let cache = tempfile::tempdir().unwrap();
        let first = EmbeddedCorpus::unpack(cache.path()).unwrap();
        let written = fs::metadata(&first.train).unwrap().modified().unwrap();

        fs::write(&first.valid, "half a li").unwrap();
        assert_eq!(EmbeddedCorpus::unpack(cache.path()).unwrap(), first);

        let kept = fs::metadata(&first.train).unwrap().modified().unwrap();
        assert_eq!(kept, written);
        assert_eq!(fs::read_to_string(&first.valid).unwrap(), VALID);
    }
}
