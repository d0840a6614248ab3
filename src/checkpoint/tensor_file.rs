//! safetensors files: written one tensor at a time, read through a memory map.
//!
//! Format (<https://huggingface.co/docs/safetensors>): length of the header, header in JSON, values.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{BoolStore, DType, TensorData};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use super::disk::{DiskFile, io_error};
use super::error::CheckpointError;
use crate::mapped::Mapped;
use crate::model::weights::{NamedTensor, Values, WeightError, WeightSource};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian; tensors are written as they lie in memory");

/// Size of the header's length field, in bytes.
const LENGTH: usize = size_of::<u64>();

/// A memory-mapped safetensors file; tensors are read on demand.
///
/// The file must not be changed while this value lives; a checkpoint's files never are.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mapped,
    header: usize,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], or [`CheckpointError::Format`] if it is truncated or not a safetensors file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let path = path.into();
        let map = Mapped::open(&path).map_err(io_error("open", &path))?;
        match SafeTensors::read_metadata(map.all()) {
            Ok((header, metadata)) => Ok(Self {
                path,
                map,
                header,
                metadata,
            }),
            Err(source) => Err(CheckpointError::Format { path, source }),
        }
    }
}

impl TensorFile {
    /// Byte range, shape and element type of a tensor.
    fn place(&self, name: &str) -> Result<(Range<usize>, &[usize], DType), WeightError> {
        let Some(info) = self.metadata.info(name) else {
            return Err(WeightError::Missing {
                path: self.path.clone(),
                names: vec![name.into()],
            });
        };
        let Some(dtype) = burn_dtype(info.dtype) else {
            return Err(WeightError::Dtype {
                path: self.path.clone(),
                name: name.into(),
                found: info.dtype.to_string(),
                expected: "a type of burn".into(),
            });
        };
        let (start, end) = info.data_offsets;
        let data = LENGTH + self.header;
        Ok((data + start..data + end, &info.shape, dtype))
    }

    fn read(&self, place: Range<usize>, shape: &[usize], dtype: DType) -> TensorData {
        // the header was checked against the length of the file
        let bytes = self.map.read(place).unwrap_or_default();
        let mut values = Values::with_capacity(dtype.size(), bytes.len() / dtype.size().max(1));
        values.extend(bytes);
        values.into_data(shape.to_vec(), dtype)
    }
}

impl WeightSource for TensorFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.metadata.info(name).map(|info| info.shape.clone())
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        let info = self.metadata.info(name)?;
        burn_dtype(info.dtype)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let (place, shape, dtype) = self.place(name)?;
        Ok(self.read(place, shape, dtype))
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        let (place, shape, dtype) = self.place(name)?;
        let size = place.len() / shape[0];
        assert!(index < shape[0], "`{name}` stacks {} tensors", shape[0]);
        let start = place.start + index * size;
        Ok(self.read(start..start + size, &shape[1..], dtype))
    }
}

/// Writes tensors, with only one at a time in host memory.
pub(super) fn write_tensors(
    file: &mut DiskFile,
    mut tensors: Vec<NamedTensor<'_>>,
) -> Result<(), CheckpointError> {
    if let Some(name) = duplicate(&tensors) {
        return Err(CheckpointError::DuplicateTensor { name });
    }
    let file_dtype = |tensor: &NamedTensor<'_>| {
        safetensors_dtype(tensor.dtype).ok_or_else(|| CheckpointError::UnsupportedDtype {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
        })
    };
    // widest type first, so that every tensor is aligned
    tensors.sort_by(|a, b| {
        let width = |tensor: &NamedTensor<'_>| safetensors_dtype(tensor.dtype);
        width(b).cmp(&width(a)).then_with(|| a.name.cmp(&b.name))
    });

    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let dtype = file_dtype(tensor)?;
        let start = end;
        end += tensor.shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype,
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        infos.push((tensor.name.clone(), info));
    }
    let lengths: Vec<usize> = infos
        .iter()
        .map(|(_, info)| info.data_offsets.1 - info.data_offsets.0)
        .collect();
    file.write(&header(file.path(), infos)?)?;

    for (tensor, length) in tensors.into_iter().zip(lengths) {
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let data = file_bytes(tensor.read()?);
        if data.bytes.len() != length {
            return Err(WeightError::Shape {
                path: file.path().to_path_buf(),
                name,
                found: data.shape.to_vec(),
                expected: shape,
            }
            .into());
        }
        file.write(&data.bytes)?;
    }
    Ok(())
}

/// The header with its length, padded to a multiple of 8 bytes.
fn header(path: &Path, infos: Vec<(String, TensorInfo)>) -> Result<Vec<u8>, CheckpointError> {
    let metadata = Metadata::new(None, infos).map_err(|source| CheckpointError::Format {
        path: path.to_path_buf(),
        source,
    })?;
    let mut text = serde_json::to_vec(&metadata).map_err(|source| CheckpointError::Json {
        path: path.to_path_buf(),
        source,
    })?;
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(header)
}

/// The first name that occurs twice.
fn duplicate(tensors: &[NamedTensor<'_>]) -> Option<String> {
    let mut seen = HashSet::new();
    let mut names = tensors.iter().map(|tensor| &tensor.name);
    names.find(|name| !seen.insert(*name)).cloned()
}

/// Bytes of a tensor in the file, with booleans in one byte each, whatever the backend uses.
fn file_bytes(data: TensorData) -> TensorData {
    match data.dtype {
        DType::Bool(BoolStore::U32) => {
            let values: Vec<bool> = data.iter().collect();
            TensorData::new(values, data.shape)
        }
        _ => data,
    }
}

fn safetensors_dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 | DType::Flex32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(_) => Dtype::BOOL,
        DType::QFloat(_) => return None,
    })
}

fn burn_dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        // a byte other than 0 and 1 would be no bool in memory
        Dtype::BOOL => DType::Bool(BoolStore::U8),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Run;

    /// Writes tensors as a file of a checkpoint and opens it.
    fn file<'t, T: Into<NamedTensor<'t>>>(
        tensors: impl IntoIterator<Item = T>,
    ) -> (TensorFile, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(folder.path().join("run"), &0, None).unwrap();
        let saved = run.save(1, |writer| writer.tensors("a.safetensors", tensors));
        (saved.unwrap().tensors("a.safetensors").unwrap(), folder)
    }

    #[test]
    fn any_truncation_of_a_file_is_an_error() {
        let (whole, folder) = file([("a".to_string(), TensorData::from([1.0f32, 2.0]))]);
        let bytes = std::fs::read(whole.path()).unwrap();
        let path = folder.path().join("short.safetensors");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(TensorFile::open(&path).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::create(folder.path().join("run"), &0, None).unwrap();
        let twice = ["a", "a"].map(|name| (name.to_string(), TensorData::from([1.0f32])));
        let error = run.save(1, |writer| writer.tensors("a.safetensors", twice));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .ends_with("`a`, expected unique names"),
        );
        assert_eq!(run.latest().unwrap(), None);
    }

    #[test]
    fn other_tools_read_the_file_and_every_type_is_kept() {
        let tensors = [
            ("f64", TensorData::from([1.5f64])),
            (
                "bf16",
                TensorData::from([1.5f32]).convert_dtype(DType::BF16),
            ),
            (
                "f16",
                TensorData::from([1.5f32, 2.0]).convert_dtype(DType::F16),
            ),
            ("u8", TensorData::from([7u8, 8, 9])),
            ("i64", TensorData::from([-7i64])),
            ("empty", TensorData::zeros::<f32, _>([0, 3])),
        ]
        .map(|(name, data)| (name.to_string(), data));
        let (file, _folder) = file(tensors.clone());

        let bytes = std::fs::read(file.path()).unwrap();
        let others = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, data) in &tensors {
            assert_eq!(&file.data(name).unwrap(), data);
            let view = others.tensor(name).unwrap();
            assert_eq!(view.shape(), &data.shape[..]);
            assert_eq!(view.data(), &data.bytes[..]);
            let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            assert!(
                offset.is_multiple_of(data.dtype.size()),
                "{name} at {offset}"
            );
        }
    }
}
