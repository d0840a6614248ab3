//! Reads and writes archives with libtorch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tch::{Device, Kind, TchError, Tensor};

use crate::interop::hugging_face::{io as io_error, malformed};
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

const KINDS: [(Kind, Dtype); 8] = [
    (Kind::Float, Dtype::F32),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Double, Dtype::F64),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

/// An archive in memory.
#[derive(Debug)]
pub(in crate::interop) struct Archive {
    path: PathBuf,
    names: Vec<String>,
    tensors: HashMap<String, (TensorInfo, Tensor)>,
}

impl Archive {
    /// Reads an archive.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not an archive; a tensor has a type that weights do not have.
    pub(in crate::interop) fn open(path: &Path) -> Result<Self, InteropError> {
        File::open(path).map_err(io_error(path))?;
        let found = Tensor::load_multi_with_device(path, Device::Cpu)
            .map_err(|error| malformed(path, said(&error), "an archive of named tensors"))?;
        let mut archive = Self {
            path: path.to_path_buf(),
            names: Vec::new(),
            tensors: HashMap::new(),
        };
        for (name, tensor) in found {
            let kind = tensor.f_kind().map_err(|error| {
                malformed(path, format!("tensor `{name}`: {}", said(&error)), "floats")
            })?;
            let dtype = KINDS.into_iter().find(|(known, _)| *known == kind);
            let Some((_, dtype)) = dtype else {
                return Err(InteropError::TensorDtype {
                    path: path.to_path_buf(),
                    name,
                    found: format!("{kind:?}"),
                    expected: "F32, F16 or BF16".into(),
                });
            };
            let shape = tensor.size().into_iter();
            let shape = shape.map(|size| size as usize).collect();
            archive.names.push(name.clone());
            archive
                .tensors
                .insert(name, (TensorInfo { dtype, shape }, tensor));
        }
        Ok(archive)
    }
}

impl TensorSource for Archive {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info.clone())
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let Some((info, tensor)) = self.tensors.get(name) else {
            return Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.into(),
            });
        };
        let count = info.shape.iter().product::<usize>();
        let mut bytes = vec![0; count * info.dtype.bitsize() / 8];
        let copied = tensor.f_contiguous();
        copied
            .and_then(|tensor| tensor.f_copy_data_u8(&mut bytes, count))
            .map_err(|error| {
                let found = format!("tensor `{name}`: {}", said(&error));
                malformed(&self.path, found, "values that can be copied")
            })?;
        Ok(RawTensor {
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: Cow::Owned(bytes),
        })
    }
}

/// Writes all tensors of a source to an archive.
pub(super) fn save(source: &dyn TensorSource, path: &Path) -> Result<(), InteropError> {
    let torch = |error: TchError| InteropError::Io {
        path: path.to_path_buf(),
        source: io::Error::other(said(&error)),
    };
    let mut tensors = Vec::new();
    for name in source.names() {
        let tensor = source.tensor(&name)?;
        let kind = KINDS.into_iter().find(|(_, known)| *known == tensor.dtype);
        let Some((kind, _)) = kind else {
            return Err(InteropError::TensorDtype {
                path: path.to_path_buf(),
                name,
                found: tensor.dtype.to_string(),
                expected: "F32, F16 or BF16".into(),
            });
        };
        let shape: Vec<i64> = tensor.shape.iter().map(|&size| size as i64).collect();
        let copy = Tensor::f_from_data_size(&tensor.bytes, &shape, kind).map_err(torch)?;
        tensors.push((name, copy));
    }
    Tensor::save_multi(&tensors, path).map_err(torch)?;
    let file = File::open(path).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))
}

/// libtorch's message without the C++ stack frames.
fn said(error: &TchError) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim);
    let first = lines.into_iter().find(|line| !line.is_empty());
    first.unwrap_or("an error without a message").to_owned()
}
