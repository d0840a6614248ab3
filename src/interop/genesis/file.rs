//! A mapped safetensors file with its metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;

use crate::interop::{InteropError, RawTensor, TensorInfo};

/// A file, its header read and checked.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    map: Mmap,
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, (TensorInfo, Range<usize>)>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, InteropError> {
        let io = |source| InteropError::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        // SAFETY: a checkpoint is not written in place while it is read; that is asked of the user
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| InteropError::Malformed {
                path: path.to_path_buf(),
                found: error.to_string().replace('\n', " "),
                expected: "a whole safetensors file".into(),
            })?;
        let data = header + size_of::<u64>();
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let found = TensorInfo {
                dtype: info.dtype,
                shape: info.shape.clone(),
            };
            (name, (found, data + start..data + end))
        });
        Ok(Self {
            path: path.to_path_buf(),
            tensors: tensors.collect(),
            metadata: metadata.metadata().clone().unwrap_or_default(),
            map,
        })
    }

    pub(super) fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let Some((info, bytes)) = self.tensors.get(name) else {
            return Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            });
        };
        Ok(RawTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: Cow::Borrowed(&self.map[bytes.clone()]),
        })
    }
}
