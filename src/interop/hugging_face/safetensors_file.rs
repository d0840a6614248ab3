//! A memory-mapped safetensors file.
//!
//! Format: <https://huggingface.co/docs/safetensors>.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::SafeTensorError;

use super::{io, malformed};
use crate::interop::{InteropError, RawTensor, TensorInfo};
use crate::mapped::Mapped;

/// A tensor in the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) info: TensorInfo,
    bytes: Range<usize>,
}

/// A mapped file with a parsed and checked header.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    map: Mapped,
    /// All tensors, in file order.
    pub(super) entries: Vec<Entry>,
    /// `__metadata__` of the header.
    pub(super) metadata: HashMap<String, String>,
}

impl SafetensorsFile {
    /// Maps a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, InteropError> {
        let map = Mapped::open(path).map_err(io(path))?;
        let (header, metadata) = SafeTensors::read_metadata(map.all())
            .map_err(|error| malformed(path, found(&error), expected(&error)))?;
        let data = header + size_of::<u64>();
        let tensors = metadata.offset_keys().into_iter();
        let entries = tensors
            .filter_map(|name| {
                let info = metadata.info(&name)?;
                let (start, end) = info.data_offsets;
                Some(Entry {
                    info: TensorInfo {
                        dtype: info.dtype,
                        shape: info.shape.clone(),
                    },
                    bytes: data + start..data + end,
                    name,
                })
            })
            .collect();
        Ok(Self {
            map,
            entries,
            metadata: metadata.metadata().clone().unwrap_or_default(),
        })
    }

    /// Values of a tensor, borrowed from the file.
    pub(super) fn tensor(&self, entry: usize) -> RawTensor<'_> {
        let Entry { info, bytes, .. } = &self.entries[entry];
        RawTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            // the header was checked against the length of the file
            bytes: Cow::Borrowed(self.map.read(bytes.clone()).unwrap_or_default()),
        }
    }
}

fn found(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => "shorter than a header's length".into(),
        SafeTensorError::HeaderTooLarge => "no header of a model file".into(),
        SafeTensorError::InvalidHeaderLength => "a header that ends after the file".into(),
        SafeTensorError::MetadataIncompleteBuffer => {
            "tensor bytes that are not as many as the header says".into()
        }
        error => error.to_string().replace('\n', " "),
    }
}

fn expected(error: &SafeTensorError) -> &'static str {
    match error {
        SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => {
            "a complete safetensors file (this one is cut short or has bytes after its end)"
        }
        _ => {
            "a safetensors file, or another model: a run, a Hugging Face folder, an .ot or a .gguf file"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SafetensorsFile;

    /// A file with this header and as many zero bytes of data.
    fn open(header: &str, data: usize) -> Result<SafetensorsFile, String> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        open_bytes(&bytes)
    }

    fn open_bytes(bytes: &[u8]) -> Result<SafetensorsFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, bytes).unwrap();
        SafetensorsFile::open(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn broken_files_are_named_in_one_line() {
        let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut huge = (100_000_001_u64).to_le_bytes().to_vec();
        huge.extend([b' '; 64]);
        let cases = [
            (open_bytes(b""), "shorter than a header"),
            (open_bytes(&huge), "no header of a model file"),
            (
                open_bytes(&u64::MAX.to_le_bytes()),
                "no header of a model file",
            ),
            (open_bytes(&1000_u64.to_le_bytes()), "ends after the file"),
            (open(one, 7), "cut short"),
            (open(one, 9), "bytes after its end"),
            (open("not json", 0), "invalid JSON"),
            (open(&one.replace("[2]", "[3]"), 8), "invalid shape"),
            (open(&one.replace("[0,8]", "[8,0]"), 8), "invalid offset"),
            (
                open(&one.replace("[2]", "[9223372036854775807,9]"), 8),
                "overflow",
            ),
            (open(&one.replace("F32", "F33"), 8), "invalid JSON"),
        ];
        for (result, message) in cases {
            let error = result.unwrap_err();
            assert!(error.contains(message), "{error} lacks {message}");
            assert!(error.contains("x.safetensors: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert_eq!(open(one, 8).unwrap().tensor(0).bytes.len(), 8);
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let path = std::path::Path::new(super::super::FIXTURES)
            .join("deepseek_v3_halfrope/interleaved_twin.safetensors");
        let whole = std::fs::read(path).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for end in (0..header + 64).step_by(13) {
            open_bytes(&whole[..end]).unwrap_err();
        }
        for position in 0..header {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x11;
            if let Ok(file) = open_bytes(&bytes) {
                (0..file.entries.len()).for_each(|entry| drop(file.tensor(entry)));
            }
        }
    }
}
