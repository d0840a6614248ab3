//! Reads a GGUF file as the Hugging Face checkpoint that it was made from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;

use super::blocks::GgmlType;
use super::gather::{Gather, MlaDims};
use super::names::{Names, Place, of_layer};
use super::reader::GgufFile;
use super::tokenizer::TokenizerFiles;
use super::writer::GgufTensor;
use super::{ROPE_FREQS, restore, tokenizer_json};
use crate::interop::hugging_face::HfConfig;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// Upper bound of the number of experts, so that a corrupt shape cannot cause huge lists of names.
const MAX_EXPERTS: usize = 1 << 16;

/// A GGUF file with Hugging Face's tensor names and shapes, and with one tensor per routed expert. Tensors without a
/// name there keep their own.
///
/// F32, F16 and BF16 tensors keep their type, quantized ones are read as F32. Multi-token prediction is off.
#[derive(Debug)]
pub struct GgufCheckpoint {
    file: GgufFile,
    config: HfConfig,
    names: Vec<String>,
    tensors: HashMap<String, Restored>,
}

/// A tensor of the checkpoint, and the parts of GGUF tensors that make it up.
#[derive(Debug)]
struct Restored {
    info: TensorInfo,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    gather: Gather,
    /// Values per row.
    row_length: usize,
    /// Index of the expert in a stack, and the number of experts.
    expert: (usize, usize),
}

impl GgufCheckpoint {
    /// Opens a file, and checks the shapes of tensors whose layout differs from Hugging Face's.
    ///
    /// # Errors
    ///
    /// Those of [`GgufFile::open`]; [`InteropError::Field`] for missing or unsupported metadata;
    /// [`InteropError::TensorShape`].
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let file = GgufFile::open(path)?;
        let mut checkpoint = Self {
            config: restore::config(&file)?,
            names: Vec::new(),
            tensors: HashMap::new(),
            file,
        };
        let layers = checkpoint.config.model.num_hidden_layers;
        let has_modules = checkpoint.file.metadata().iter().any(|(key, value)| {
            key.ends_with(restore::MODULES) && value.as_u64().is_some_and(|count| count > 0)
        });
        for tensor in checkpoint.file.tensors().to_vec() {
            let layer = of_layer(&tensor.name, "blk.");
            let is_module = has_modules && layer.is_some_and(|(layer, _)| layer >= layers);
            if !is_module {
                checkpoint.add(&tensor)?;
            }
        }
        checkpoint.check_joined()?;
        Ok(checkpoint)
    }

    /// The underlying GGUF file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// The configuration that the metadata describe.
    ///
    /// GGUF keeps only the factors of llama3's rotary scaling; lengths are chosen that give these factors.
    pub fn config(&self) -> &HfConfig {
        &self.config
    }

    /// The tokenizer, if the file has one.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] if it is of an unsupported kind, or has an unknown pre-tokenizer.
    pub fn tokenizer(&self) -> Result<Option<TokenizerFiles>, InteropError> {
        tokenizer_json::tokenizer_files(&self.file)
    }

    fn add(&mut self, tensor: &GgufTensor) -> Result<(), InteropError> {
        // left out: frequencies computed from the configuration, and a joint tensor of keys and values beside
        // separate ones
        let is_joined = |name: &str| {
            let keys = name.replace("attn_kv_b.", "attn_k_b.");
            keys != name && self.file.tensor(&keys).is_some()
        };
        let is_skipped = tensor.name == ROPE_FREQS || is_joined(&tensor.name);
        if is_skipped || tensor.name.contains(".attn_rot_embd.") {
            return Ok(());
        }
        let Some((name, gather)) = Names::of(&self.config).ours(&tensor.name) else {
            self.put(tensor.name.clone(), tensor, Gather::Same, (0, 1));
            return Ok(());
        };
        self.check(tensor, gather)?;
        let Some((before, after)) = name.split_once(".experts.") else {
            self.put(name, tensor, gather, (0, 1));
            return Ok(());
        };
        let experts = tensor.shape[0];
        if tensor.shape.len() != 3 || !(1..=MAX_EXPERTS).contains(&experts) {
            return Err(InteropError::Malformed {
                path: self.file.path().to_owned(),
                found: format!("tensor `{}` of shape {:?}", tensor.name, tensor.shape),
                expected: format!("[experts, rows, columns] of 1 to {MAX_EXPERTS} experts"),
            });
        }
        for expert in 0..experts {
            let name = format!("{before}.experts.{expert}.{after}");
            self.put(name, tensor, gather, (expert, experts));
        }
        Ok(())
    }

    /// Refuses a tensor with an unexpected number of rows, which could not be reordered.
    fn check(&self, tensor: &GgufTensor, gather: Gather) -> Result<(), InteropError> {
        let mla = self.config.model.mixer.mla.as_ref();
        let heads = mla.map_or(0, |mla| mla.num_attention_heads);
        let mut expected = tensor.shape.clone();
        match gather {
            Gather::Same => {}
            Gather::Rotary { head_dim } => {
                let gqa = self.config.model.mixer.gqa.as_ref();
                let heads = gqa.map_or(0, |gqa| match tensor.name.contains(".attn_q.") {
                    true => gqa.num_attention_heads,
                    false => gqa.num_key_value_heads,
                });
                expected[0] = heads * head_dim;
            }
            Gather::KeyB(dims) => expected = vec![heads, dims.kv_lora_rank, dims.qk_nope_head_dim],
            Gather::ValueB(dims) => expected = vec![heads, dims.v_head_dim, dims.kv_lora_rank],
        }
        if tensor.shape == expected {
            return Ok(());
        }
        Err(InteropError::TensorShape {
            path: self.file.path().to_owned(),
            name: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected,
        })
    }

    fn put(&mut self, name: String, tensor: &GgufTensor, gather: Gather, expert: (usize, usize)) {
        let dtype = dtype(tensor.ggml_type);
        let part = Part {
            name: tensor.name.clone(),
            gather,
            row_length: gather.row_length(&tensor.shape),
            expert,
        };
        let is_joined = matches!(gather, Gather::KeyB(_) | Gather::ValueB(_));
        match self.tensors.get_mut(&name) {
            Some(restored) if is_joined => {
                if restored.info.dtype != dtype {
                    restored.info.dtype = Dtype::F32;
                }
                restored.parts.push(part);
                return;
            }
            // a second tensor of the same name
            Some(_) if name != tensor.name => {
                return self.put(tensor.name.clone(), tensor, Gather::Same, (0, 1));
            }
            Some(_) => return,
            None => {}
        }
        let shape = match gather {
            Gather::KeyB(dims) | Gather::ValueB(dims) => self.joined_shape(dims),
            _ if expert.1 > 1 || name.contains(".experts.") => tensor.shape[1..].to_vec(),
            _ => tensor.shape.clone(),
        };
        let info = TensorInfo { dtype, shape };
        let parts = vec![part];
        self.names.push(name.clone());
        self.tensors.insert(name, Restored { info, parts });
    }

    /// Refuses keys without values, and values without keys.
    fn check_joined(&self) -> Result<(), InteropError> {
        for parts in self.tensors.values().map(|it| it.parts.as_slice()) {
            let has = |is: fn(&Gather) -> bool| parts.iter().any(|part| is(&part.gather));
            let keys = has(|it| matches!(it, Gather::KeyB(_)));
            let values = has(|it| matches!(it, Gather::ValueB(_)));
            let missing = match (keys, values) {
                (false, false) => continue,
                (true, true) if parts.len() == 2 => continue,
                (false, true) => parts[0].name.replace("attn_v_b.", "attn_k_b."),
                (true, _) => parts[0].name.replace("attn_k_b.", "attn_v_b."),
            };
            return Err(InteropError::MissingTensor {
                path: self.file.path().to_owned(),
                name: missing,
            });
        }
        Ok(())
    }

    /// Shape of `kv_b_proj`.
    fn joined_shape(&self, dims: MlaDims) -> Vec<usize> {
        let mla = self.config.model.mixer.mla.as_ref();
        let heads = mla.map_or(0, |mla| mla.num_attention_heads);
        vec![
            heads * (dims.qk_nope_head_dim + dims.v_head_dim),
            dims.kv_lora_rank,
        ]
    }

    /// The tensor of a part, and the part's bytes in it.
    fn part(&self, part: &Part) -> Result<(&GgufTensor, &[u8]), InteropError> {
        let found = self.file.tensor(&part.name);
        let (tensor, bytes) = found.ok_or_else(|| self.missing(&part.name))?;
        let (expert, experts) = part.expert;
        let size = bytes.len() / experts;
        Ok((tensor, &bytes[expert * size..(expert + 1) * size]))
    }

    fn missing(&self, name: &str) -> InteropError {
        InteropError::MissingTensor {
            path: self.file.path().to_owned(),
            name: self.called(name),
        }
    }
}

impl Part {
    /// Writes the values of this part, `bytes` of `tensor`, to their places in `target`, as elements of type
    /// `wanted`. It works row by row, so that only one row is held twice.
    fn fill(&self, tensor: &GgufTensor, bytes: &[u8], wanted: Dtype, target: &mut [u8]) {
        let (size, length) = (wanted.bitsize() / 8, self.row_length.max(1));
        let stored = tensor.ggml_type;
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
            for values in row.chunks_exact(length * size) {
                self.gather.scatter(place, length, size, values, target);
                place += 1;
            }
        }
    }
}

/// Element type that a ggml type is read as.
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
        let found = self.tensors.get(name).ok_or_else(|| self.missing(name));
        let Restored { info, parts } = found?;
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
    fn called(&self, name: &str) -> String {
        match Names::of(&self.config).theirs(name) {
            Some(Place::One(name, _) | Place::Expert(name, _)) => name,
            Some(Place::KeysAndValues([(name, _), _])) => name,
            None => name.to_owned(),
        }
    }
}
