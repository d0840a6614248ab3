//! Writes GGUF version 3: header, metadata and tensor infos first, then the data of one tensor after the other.
//!
//! The infos need only types and shapes, so a model is never in memory as a whole. The bytes go to a temporary file
//! that is renamed to the target at the end, so that readers see a complete file or none.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::blocks::GgmlType;
use super::value::{GgufValue, encode_text};
use super::{ALIGNMENT, MAGIC, MAX_DIMENSIONS, MAX_NAME_BYTES, VERSION};
use crate::interop::InteropError;

/// A tensor of a GGUF file: name, type and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name in the file, for example `blk.0.attn_norm.weight`.
    pub name: String,
    /// Element type.
    pub ggml_type: GgmlType,
    /// Size of each dimension, outermost first; the file stores them innermost first.
    pub shape: Vec<usize>,
}

/// A GGUF file being written. It is removed if it is dropped before [`finish`](Self::finish).
#[derive(Debug)]
pub struct GgufWriter {
    target: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    /// Names and sizes in bytes of the tensors still to be written, last one first.
    pending: Vec<(String, u64)>,
    /// Number of bytes written of the current tensor.
    written: u64,
}

impl GgufWriter {
    /// Creates a temporary file beside `target` and writes everything before the tensors' data.
    ///
    /// # Errors
    ///
    /// [`InteropError::Io`] if the file cannot be written; [`InteropError::Field`] for a tensor with a name of 64
    /// bytes or more, with 0 or more than 4 dimensions, or with rows that are not whole blocks.
    pub fn create(
        target: &Path,
        metadata: &[(String, GgufValue)],
        tensors: &[GgufTensor],
    ) -> Result<Self, InteropError> {
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            encode_text(key, &mut header);
            value.encode(&mut header);
        }
        let mut offset = 0;
        let mut pending = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let bytes = checked_bytes(target, tensor)?;
            encode_text(&tensor.name, &mut header);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            header.extend(
                tensor
                    .shape
                    .iter()
                    .rev()
                    .flat_map(|&size| (size as u64).to_le_bytes()),
            );
            header.extend(tensor.ggml_type.id().to_le_bytes());
            header.extend(u64::to_le_bytes(offset));
            offset += bytes.next_multiple_of(ALIGNMENT);
            pending.push((tensor.name.clone(), bytes));
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
        pending.reverse();

        let mut partial = target.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|source| InteropError::Io {
            path: partial.clone(),
            source,
        })?;
        let mut writer = Self {
            target: target.to_owned(),
            partial,
            file: BufWriter::with_capacity(1 << 20, file),
            pending,
            written: 0,
        };
        writer.put(&header)?;
        writer.skip_complete()?;
        Ok(writer)
    }

    /// Writes the next bytes of the current tensor; after its last byte, the next tensor becomes current.
    ///
    /// # Errors
    ///
    /// [`InteropError::Io`] if the file cannot be written; [`InteropError::Malformed`] for more bytes than the tensor
    /// has.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), InteropError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (name, size) = match self.pending.last() {
            Some((name, size)) => (name.as_str(), *size),
            None => ("no tensor", 0),
        };
        let written = self.written + bytes.len() as u64;
        if written > size {
            return Err(self.malformed(
                format!("{written} bytes of `{name}`"),
                format!("{size} bytes"),
            ));
        }
        self.put(bytes)?;
        self.written = written;
        self.skip_complete()
    }

    /// Flushes the file to the disk and renames it to the target.
    ///
    /// # Errors
    ///
    /// [`InteropError::Io`] if the file system refuses; [`InteropError::Malformed`] if bytes of a tensor are missing.
    pub fn finish(mut self) -> Result<(), InteropError> {
        if let Some((name, size)) = self.pending.last() {
            return Err(self.malformed(
                format!("{} bytes of `{name}`", self.written),
                format!("{size} bytes"),
            ));
        }
        let done = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        done.and_then(|()| fs::rename(&self.partial, &self.target))
            .map_err(|source| InteropError::Io {
                path: self.target.clone(),
                source,
            })
    }

    /// Pads the current tensor if it is complete, and moves on to the next tensor with data.
    fn skip_complete(&mut self) -> Result<(), InteropError> {
        while self
            .pending
            .last()
            .is_some_and(|&(_, size)| size == self.written)
        {
            let padding = self.written.next_multiple_of(ALIGNMENT) - self.written;
            self.put(&[0; ALIGNMENT as usize][..padding as usize])?;
            self.pending.pop();
            self.written = 0;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), InteropError> {
        self.file
            .write_all(bytes)
            .map_err(|source| InteropError::Io {
                path: self.partial.clone(),
                source,
            })
    }

    fn malformed(&self, found: String, expected: String) -> InteropError {
        InteropError::Malformed {
            path: self.target.clone(),
            found,
            expected,
        }
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        // After a rename there is no such file, and an error of removing it cannot be reported.
        let _ = fs::remove_file(&self.partial);
    }
}

fn checked_bytes(path: &Path, tensor: &GgufTensor) -> Result<u64, InteropError> {
    let GgufTensor {
        name,
        ggml_type,
        shape,
    } = tensor;
    let error = |found: String, expected: String| InteropError::Field {
        path: path.to_owned(),
        field: name.clone(),
        found,
        expected,
    };
    if name.len() >= MAX_NAME_BYTES {
        return Err(error(
            format!("a name of {} bytes", name.len()),
            format!("fewer than {MAX_NAME_BYTES}"),
        ));
    }
    if shape.is_empty() || shape.len() > MAX_DIMENSIONS {
        return Err(error(
            format!("of {} dimensions", shape.len()),
            format!("1 to {MAX_DIMENSIONS}"),
        ));
    }
    match ggml_type.tensor_bytes(shape) {
        Some(bytes) => Ok(bytes as u64),
        None => Err(error(
            format!("{ggml_type} of shape {shape:?}"),
            "rows of whole blocks".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> GgufTensor {
        GgufTensor {
            name: name.to_owned(),
            ggml_type: GgmlType::F32,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        let mut writer = GgufWriter::create(&target, &[], &[tensor("a", &[2, 2])]).unwrap();
        writer.write(&[0; 15]).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(
            error.ends_with("15 bytes of `a`, expected 16 bytes"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn more_bytes_than_the_tensor_has_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        let mut writer =
            GgufWriter::create(&target, &[], &[tensor("a", &[1]), tensor("b", &[1])]).unwrap();
        let error = writer.write(&[0; 8]).unwrap_err().to_string();
        assert!(
            error.ends_with("8 bytes of `a`, expected 4 bytes"),
            "{error}"
        );
    }

    #[test]
    fn names_and_dimensions_that_ggml_cannot_hold_are_refused() {
        let target = Path::new("model.gguf");
        for (tensor, expected) in [
            (
                tensor(&"x".repeat(64), &[1]),
                "a name of 64 bytes, expected fewer than 64",
            ),
            (
                tensor("a", &[1; 5]),
                "`a` is of 5 dimensions, expected 1 to 4",
            ),
            (
                GgufTensor {
                    ggml_type: GgmlType::Q8_0,
                    ..tensor("a", &[2, 33])
                },
                "`a` is Q8_0 of shape [2, 33], expected rows of whole blocks",
            ),
        ] {
            let error = GgufWriter::create(target, &[], &[tensor])
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
