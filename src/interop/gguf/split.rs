//! Models in several files, `NAME-00001-of-00003.gguf`, as written by llama.cpp's `gguf-split`.
//!
//! The first file has all metadata. Every file has its number and the number of files, counted from 0 in the metadata
//! and from 1 in the names.

use std::path::{Path, PathBuf};

use super::reader::GgufFile;
use super::value::GgufValue;
use crate::interop::InteropError;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Upper bound of the number of files.
const MAX_FILES: u64 = 1 << 14;

/// The files of a model, found from one of them.
#[derive(Debug)]
pub(super) struct Split {
    folder: PathBuf,
    stem: String,
    /// Index of the given file, from 0.
    pub(super) number: u64,
    pub(super) count: u64,
}

impl Split {
    /// Finds the other files; `None` if the model is in one file.
    pub(super) fn of(file: &GgufFile) -> Result<Option<Self>, InteropError> {
        let path = file.path();
        let count = number(file, COUNT).unwrap_or(1);
        if count <= 1 {
            return Ok(None);
        }
        let number = number(file, NUMBER);
        let Some(number) = number.filter(|number| *number < count && count <= MAX_FILES) else {
            let found = number.map_or("no number".into(), |number| format!("number {number}"));
            return Err(malformed(
                path,
                format!("`{NUMBER}` has {found} of {count}"),
                "the number of one of the files",
            ));
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = ending(number, count);
        let Some(stem) = name.strip_suffix(&ending) else {
            return Err(malformed(
                path,
                format!("file {} of {count} of a model", number + 1),
                format!("a name that ends in `{ending}`, by which the others are found"),
            ));
        };
        Ok(Some(Self {
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            stem: stem.to_owned(),
            number,
            count,
        }))
    }

    /// Opens one of the files, by its index.
    pub(super) fn part(&self, wanted: u64) -> Result<GgufFile, InteropError> {
        let name = format!("{}{}", self.stem, ending(wanted, self.count));
        let path = self.folder.join(name);
        if !path.is_file() {
            let found = format!(
                "file {} of {} of the model is missing",
                wanted + 1,
                self.count
            );
            return Err(malformed(&path, found, "all of them in one folder"));
        }
        let part = GgufFile::one(&path)?;
        let stated = (number(&part, NUMBER), number(&part, COUNT));
        if stated != (Some(wanted), Some(self.count)) {
            let shown = |number: Option<u64>| number.map_or("none".into(), |it| it.to_string());
            return Err(malformed(
                &path,
                format!(
                    "`{NUMBER}` is {} and `{COUNT}` {}",
                    shown(stated.0),
                    shown(stated.1)
                ),
                format!("{wanted} and {}, as its name says", self.count),
            ));
        }
        Ok(part)
    }

    /// Checks that no tensor is missing.
    pub(super) fn check_whole(&self, file: &GgufFile) -> Result<(), InteropError> {
        let held = file.tensors().len() as u64;
        match number(file, TENSORS) {
            Some(stated) if stated != held => Err(malformed(
                file.path(),
                format!("{held} tensors in {} files", self.count),
                format!("the {stated} of `{TENSORS}`"),
            )),
            _ => Ok(()),
        }
    }
}

fn ending(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

fn number(file: &GgufFile, key: &str) -> Option<u64> {
    file.value(key).and_then(GgufValue::as_u64)
}

fn malformed(path: &Path, found: String, expected: impl Into<String>) -> InteropError {
    InteropError::Malformed {
        path: path.to_owned(),
        found,
        expected: expected.into(),
    }
}
