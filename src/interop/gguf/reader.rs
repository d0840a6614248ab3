//! Reads GGUF from memory-mapped files, without trusting their bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::blocks::GgmlType;
use super::cursor::{Cursor, Fault};
use super::stored_types::StoredTypes;
use super::value::GgufValue;
use super::writer::GgufTensor;
use super::{ALIGNMENT, MAGIC, MAX_DIMENSIONS, OLDEST_VERSION, VERSION, split};
use crate::interop::InteropError;
use crate::mapped::Mapped;

/// An open GGUF file: its metadata and tensors. A model in several files is opened as a whole, with the metadata of
/// the first file.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    parts: Vec<Mapped>,
    header: Header,
}

/// Everything before the data. Each tensor's bytes are checked to be in the file.
#[derive(Debug)]
struct Header {
    metadata: Vec<(String, GgufValue)>,
    tensors: Vec<GgufTensor>,
    /// File and byte offset of each tensor.
    starts: Vec<(usize, usize)>,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
}

impl GgufFile {
    /// Maps a file and reads everything but the tensors' data. Of a model in several files, any may be given.
    ///
    /// # Errors
    ///
    /// [`InteropError::Io`] if the file cannot be opened; [`InteropError::Malformed`] if it is not GGUF version 2 or
    /// 3, is truncated, or belongs to a model of which another file is missing; [`InteropError::TensorDtype`] for a
    /// tensor whose type [`GgmlType`] does not have.
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let whole = Self::one(path)?;
        let Some(split) = split::Split::of(&whole)? else {
            return Ok(whole);
        };
        let mut whole = match split.number {
            0 => whole,
            _ => split.part(0)?,
        };
        for number in 1..split.count {
            let part = split.part(number)?;
            whole.append(part)?;
        }
        split.check_whole(&whole)?;
        Ok(whole)
    }

    /// Opens a single file.
    pub(super) fn one(path: &Path) -> Result<Self, InteropError> {
        let io = |source| InteropError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = Mapped::open(path).map_err(io)?;
        let header = parse(path, bytes.all())?;
        Ok(Self {
            path: path.to_owned(),
            parts: vec![bytes],
            header,
        })
    }

    /// Adds the tensors of another file of the same model.
    fn append(&mut self, part: Self) -> Result<(), InteropError> {
        let parts = self.parts.len();
        for (tensor, (of, start)) in part.header.tensors.into_iter().zip(part.header.starts) {
            let index = self.header.tensors.len();
            if self
                .header
                .names
                .insert(tensor.name.clone(), index)
                .is_some()
            {
                return Err(InteropError::Malformed {
                    path: part.path,
                    found: format!(
                        "tensor `{}`, which an earlier file of the model holds",
                        tensor.name
                    ),
                    expected: "each tensor once".to_owned(),
                });
            }
            self.header.tensors.push(tensor);
            self.header.starts.push((parts + of, start));
        }
        self.parts.extend(part.parts);
        Ok(())
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All metadata, in file order.
    pub fn metadata(&self) -> &[(String, GgufValue)] {
        &self.header.metadata
    }

    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&GgufValue> {
        self.header
            .keys
            .get(key)
            .map(|&index| &self.header.metadata[index].1)
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.header.tensors
    }

    /// Number of tensors of each type, in decreasing order.
    pub fn types(&self) -> StoredTypes {
        let mut counts = BTreeMap::new();
        for tensor in self.tensors() {
            *counts.entry(tensor.ggml_type).or_insert(0) += 1;
        }
        StoredTypes::new(counts)
    }

    /// A tensor and its bytes, by its name in the file.
    pub fn tensor(&self, name: &str) -> Option<(&GgufTensor, &[u8])> {
        let &index = self.header.names.get(name)?;
        let tensor = &self.header.tensors[index];
        let (part, start) = self.header.starts[index];
        let size = tensor.ggml_type.tensor_bytes(&tensor.shape)?;
        let bytes = self.parts[part].read(start..start.checked_add(size)?)?;
        Some((tensor, bytes))
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Header, InteropError> {
    let malformed = |Fault { found, expected }| InteropError::Malformed {
        path: path.to_owned(),
        found,
        expected,
    };
    let mut cursor = Cursor::new(bytes);
    let (tensor_count, key_count) = parse_counts(&mut cursor).map_err(malformed)?;

    let mut header = Header {
        metadata: Vec::new(),
        tensors: Vec::new(),
        starts: Vec::new(),
        keys: HashMap::new(),
        names: HashMap::new(),
    };
    // The counts are not trusted: nothing is reserved for them, and the loop ends at the first item whose bytes are
    // missing.
    for index in 0..key_count {
        let (key, value) = parse_key(&mut cursor).map_err(malformed)?;
        if header.keys.insert(key.clone(), index as usize).is_some() {
            return Err(malformed(Fault::new(
                format!("metadata key `{key}` twice"),
                "each key once",
            )));
        }
        header.metadata.push((key, value));
    }
    let alignment = match header
        .keys
        .get("general.alignment")
        .map(|&index| &header.metadata[index].1)
    {
        None => ALIGNMENT,
        Some(&GgufValue::U32(alignment)) if alignment.is_power_of_two() => alignment.into(),
        Some(other) => {
            return Err(malformed(Fault::new(
                format!("`general.alignment` {other}"),
                "a u32 power of two",
            )));
        }
    };

    let mut offsets = Vec::new();
    for index in 0..tensor_count {
        let (name, shape, type_id, offset) = parse_info(&mut cursor).map_err(malformed)?;
        let Some(ggml_type) = GgmlType::from_id(type_id) else {
            return Err(InteropError::TensorDtype {
                path: path.to_owned(),
                name,
                found: GgmlType::unread_name(type_id),
                expected: GgmlType::names(),
            });
        };
        if header.names.insert(name.clone(), index as usize).is_some() {
            return Err(malformed(Fault::new(
                format!("tensor `{name}` twice"),
                "each tensor once",
            )));
        }
        header.tensors.push(GgufTensor {
            name,
            ggml_type,
            shape,
        });
        offsets.push(offset);
    }

    let data = (cursor.position() as u64).next_multiple_of(alignment);
    for (tensor, offset) in header.tensors.iter().zip(offsets) {
        let start = checked_start(tensor, data, offset, alignment, bytes.len());
        header.starts.push((0, start.map_err(malformed)?));
    }
    Ok(header)
}

/// Checks magic number and version, and reads the numbers of tensors and of metadata keys.
fn parse_counts(cursor: &mut Cursor<'_>) -> Result<(u64, u64), Fault> {
    let magic: [u8; 4] = cursor.array()?;
    if magic != MAGIC {
        return Err(Fault::new(
            format!("`{}` at byte 0", magic.escape_ascii()),
            "`GGUF`",
        ));
    }
    match cursor.u32()? {
        OLDEST_VERSION..=VERSION => Ok((cursor.u64()?, cursor.u64()?)),
        other if other.swap_bytes() <= VERSION => {
            Err(Fault::new("big-endian GGUF", "little-endian"))
        }
        other => Err(Fault::new(
            format!("GGUF version {other}"),
            format!("version {OLDEST_VERSION} or {VERSION}"),
        )),
    }
}

fn parse_key(cursor: &mut Cursor<'_>) -> Result<(String, GgufValue), Fault> {
    let key = cursor.text()?;
    match GgufValue::decode(cursor) {
        Ok(value) => Ok((key, value)),
        Err(Fault { found, expected }) => Err(Fault {
            found: format!("metadata key `{key}`: {found}"),
            expected,
        }),
    }
}

/// Reads name, shape (outermost dimension first), type number and offset of a tensor.
fn parse_info(cursor: &mut Cursor<'_>) -> Result<(String, Vec<usize>, u32, u64), Fault> {
    let name = cursor.text()?;
    let dimensions = cursor.u32()? as usize;
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(Fault::new(
            format!("tensor `{name}` of {dimensions} dimensions"),
            format!("1 to {MAX_DIMENSIONS}"),
        ));
    }
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        let size = cursor.u64()?;
        let size = usize::try_from(size)
            .map_err(|_| Fault::new(format!("tensor `{name}` of size {size}"), "a smaller size"))?;
        shape.push(size);
    }
    shape.reverse();
    Ok((name, shape, cursor.u32()?, cursor.u64()?))
}

fn checked_start(
    tensor: &GgufTensor,
    data: u64,
    offset: u64,
    alignment: u64,
    file: usize,
) -> Result<usize, Fault> {
    let GgufTensor {
        name,
        ggml_type,
        shape,
    } = tensor;
    let Some(size) = ggml_type.tensor_bytes(shape) else {
        return Err(Fault::new(
            format!("tensor `{name}`: {ggml_type} of shape {shape:?}"),
            "whole blocks",
        ));
    };
    if !offset.is_multiple_of(alignment) {
        return Err(Fault::new(
            format!("tensor `{name}` at offset {offset}"),
            format!("a multiple of {alignment}"),
        ));
    }
    let start = data.checked_add(offset);
    match start.and_then(|start| start.checked_add(size as u64)) {
        // Not beyond the end of the file, so it fits `usize`.
        Some(end) if end <= file as u64 => Ok((end - size as u64) as usize),
        _ => Err(Fault::new(
            format!("tensor `{name}` of {size} bytes at offset {offset} in a file of {file} bytes"),
            "a file that holds it",
        )),
    }
}
