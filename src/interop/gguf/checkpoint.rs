//! A GGUF file read as the Hugging Face checkpoint that it came from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use super::blocks::GgmlType;
use super::config::{Config, Layout};
use super::entry::{Entry, Origin};
use super::gather::Gather;
use super::reader::GgufFile;
use super::tokenizer::TokenizerFiles;
use super::writer::GgufTensor;
use super::{restore, tokenizer_json};
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// A GGUF file of architecture `deepseek2` or `llama` with the names, shapes and order of Hugging Face.
///
/// F32, F16 and BF16 are given as they are, blocks as F32. Heads, experts and layers of the file are
/// those that its metadata tell; multi-token prediction, which `deepseek2` files do not have, is off.
#[derive(Debug)]
pub struct GgufCheckpoint {
    file: GgufFile,
    config: Value,
    names: Vec<String>,
    tensors: HashMap<String, Restored>,
}

/// A tensor of the checkpoint, and the parts of GGUF tensors that fill it.
#[derive(Debug)]
struct Restored {
    info: TensorInfo,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    gather: Gather,
    /// Values in a row.
    row_length: usize,
    /// Which of the stacked experts, and how many there are.
    expert: (usize, usize),
}

impl GgufCheckpoint {
    /// Opens a file, and checks that it has all tensors of its configuration in their shapes.
    ///
    /// # Errors
    ///
    /// Those of [`GgufFile::open`]; [`InteropError::Field`] for metadata that are missing or not
    /// supported; [`InteropError::MissingTensor`] and [`InteropError::TensorShape`].
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let file = GgufFile::open(path)?;
        let config = restore::config(&file)?;
        let layout = Layout::read(&Config::new(path, &config))?;
        let mut checkpoint = Self {
            file,
            config,
            names: Vec::new(),
            tensors: HashMap::new(),
        };
        // A count of layers that lies ends at the first layer that is not there.
        let mut outer = layout.outer_entries().into_iter();
        outer
            .next()
            .map_or(Ok(()), |embedding| checkpoint.add(embedding))?;
        for layer in 0..layout.num_hidden_layers {
            let mut entries = layout.layer_entries(layer);
            checkpoint.join_old_kv_b(&mut entries, layer);
            entries
                .into_iter()
                .try_for_each(|entry| checkpoint.add(entry))?;
        }
        outer.try_for_each(|entry| checkpoint.add(entry))?;
        Ok(checkpoint)
    }

    /// The file as it is.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// `config.json`, with the fields and spelling of transformers 4.
    ///
    /// What GGUF does not keep has its usual value: `initializer_range`, `attention_dropout`. Of
    /// llama3's scaling GGUF keeps the factors only; the lengths are those that give them.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tokenizer, if the file has one.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] if it is not byte-level BPE with a pre-tokenizer that is known here.
    pub fn tokenizer(&self) -> Result<Option<TokenizerFiles>, InteropError> {
        tokenizer_json::tokenizer_files(&self.file)
    }

    /// Older files of `deepseek2` have keys and values in one tensor, as the checkpoint has them.
    fn join_old_kv_b(&self, entries: &mut Vec<Entry>, layer: usize) {
        let name = |part: &str| format!("blk.{layer}.attn_{part}.weight");
        let has = |part: &str| self.file.tensor(&name(part)).is_some();
        if has("k_b") || !has("kv_b") {
            return;
        }
        entries.retain(|entry| entry.name != name("v_b"));
        let keys = entries.iter_mut().find(|entry| entry.name == name("k_b"));
        if let Some(entry) = keys
            && let Origin::Tensor(theirs, shape) = &entry.origin
        {
            *entry = Entry::same(name("kv_b"), theirs.clone(), &shape.clone());
        }
    }

    fn add(&mut self, entry: Entry) -> Result<(), InteropError> {
        let Some((tensor, _)) = self.file.tensor(&entry.name) else {
            return Err(InteropError::MissingTensor {
                path: self.file.path().to_owned(),
                name: entry.name,
            });
        };
        if tensor.shape != entry.shape {
            let (found, expected) = (tensor.shape.clone(), entry.shape);
            return Err(InteropError::TensorShape {
                path: self.file.path().to_owned(),
                name: entry.name,
                found,
                expected,
            });
        }
        let dtype = dtype(tensor.ggml_type);
        let pieces = entry.pieces();
        let row_length = entry.gather.row_length(&entry.shape);
        for piece in 0..pieces {
            let name = entry.origin.name(piece);
            let part = Part {
                name: entry.name.clone(),
                gather: entry.gather,
                row_length,
                expert: (piece, pieces),
            };
            match self.tensors.get_mut(&name) {
                Some(restored) => {
                    if restored.info.dtype != dtype {
                        restored.info.dtype = Dtype::F32;
                    }
                    restored.parts.push(part);
                }
                None => {
                    let info = TensorInfo {
                        dtype,
                        shape: entry.piece_shape().to_vec(),
                    };
                    self.names.push(name.clone());
                    self.tensors.insert(
                        name,
                        Restored {
                            info,
                            parts: vec![part],
                        },
                    );
                }
            }
        }
        debug_assert!(!matches!(entry.origin, Origin::Values(_)));
        Ok(())
    }

    /// The tensor that a part is of, and the part's bytes.
    fn part(&self, part: &Part) -> Result<(&GgufTensor, &[u8]), InteropError> {
        let missing = || InteropError::MissingTensor {
            path: self.file.path().to_owned(),
            name: part.name.clone(),
        };
        let (tensor, bytes) = self.file.tensor(&part.name).ok_or_else(missing)?;
        let (expert, experts) = part.expert;
        let size = bytes.len() / experts;
        Ok((tensor, &bytes[expert * size..(expert + 1) * size]))
    }
}

impl Part {
    /// Puts the values of this part, `bytes` of `tensor`, to their places among those of type `wanted` in `target`:
    /// row by row, so that nothing but a row stands there twice.
    fn fill(&self, tensor: &GgufTensor, bytes: &[u8], wanted: Dtype, target: &mut [u8]) {
        let size = wanted.bitsize() / 8;
        let stored = tensor.ggml_type;
        // not empty: a dimension of zero is refused with the configuration
        let row_bytes = tensor.shape.last().and_then(|&row| stored.row_bytes(row));
        let rows = bytes.chunks_exact(row_bytes.unwrap_or(1).max(1));
        let is_same = !stored.is_quantized() && dtype(stored) == wanted;
        let (mut numbers, mut decoded) = (Vec::new(), Vec::new());
        let mut place = 0;
        for row in rows {
            let row = if is_same {
                row
            } else {
                numbers.clear();
                stored.decode(row, &mut numbers);
                decoded.clear();
                decoded.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                &decoded
            };
            for values in row.chunks_exact(self.row_length * size) {
                self.gather
                    .scatter(place, self.row_length, size, values, target);
                place += 1;
            }
        }
    }
}

/// The type that a ggml type is read as.
fn dtype(ggml_type: GgmlType) -> Dtype {
    match ggml_type {
        GgmlType::F16 => Dtype::F16,
        GgmlType::Bf16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

impl TensorSource for GgufCheckpoint {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.get(name).map(|restored| restored.info.clone())
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let missing = || InteropError::MissingTensor {
            path: self.file.path().to_owned(),
            name: name.to_owned(),
        };
        let Restored { info, parts } = self.tensors.get(name).ok_or_else(missing)?;
        let TensorInfo { dtype, shape } = info.clone();
        if let [part] = parts.as_slice()
            && part.gather == Gather::Same
        {
            let (tensor, bytes) = self.part(part)?;
            if !tensor.ggml_type.is_quantized() {
                return Ok(RawTensor {
                    dtype,
                    shape,
                    bytes: Cow::Borrowed(bytes),
                });
            }
        }
        let size = dtype.bitsize() / 8;
        let mut values = vec![0; shape.iter().product::<usize>() * size];
        for part in parts {
            let (tensor, bytes) = self.part(part)?;
            part.fill(tensor, bytes, dtype, &mut values);
        }
        Ok(RawTensor {
            dtype,
            shape,
            bytes: Cow::Owned(values),
        })
    }
}
