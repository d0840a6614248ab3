//! Writes a Hugging Face checkpoint as GGUF, one tensor at a time.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use super::blocks::{GgmlType, OutType};
use super::config::{Attention, Config, Layout};
use super::entry::{Entry, Origin};
use super::metadata::model_keys;
use super::rope::{Rope, Scaling};
use super::tokenizer::{TokenizerFiles, tokenizer_keys};
use super::tokenizer_json::NO_VOCAB;
use super::writer::{GgufTensor, GgufWriter};
use crate::interop::{InteropError, TensorInfo, TensorSource};

/// The checkpoint that becomes a GGUF file.
#[derive(Clone, Copy)]
pub struct HfModel<'a> {
    /// Its folder. Only messages name it; nothing is read from there.
    pub path: &'a Path,
    /// Its `config.json`, of `model_type` deepseek_v3, llama or mixtral.
    pub config: &'a Value,
    /// Its tokenizer, if the file is to have one.
    pub tokenizer: Option<&'a TokenizerFiles>,
    /// Its tensors in F32, F16 or BF16, with a tensor for each expert.
    pub tensors: &'a dyn TensorSource,
}

impl fmt::Debug for HfModel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HfModel")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// How a GGUF file is written.
pub struct GgufOptions<'a> {
    /// Type of the matrices. Vectors and routers are F32 whatever it is.
    pub dtype: OutType,
    /// The model's name, for `general.name`.
    pub name: &'a str,
    /// Called before each tensor.
    pub progress: &'a mut dyn FnMut(GgufProgress<'_>),
}

impl fmt::Debug for GgufOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufOptions")
            .field("dtype", &self.dtype)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How far the writing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufProgress<'a> {
    /// The GGUF tensor that comes next.
    pub tensor: &'a str,
    /// Tensors that are written.
    pub done: usize,
    /// Tensors that there are.
    pub total: usize,
}

/// Writes a checkpoint as the GGUF file `target`, as llama.cpp's converter does.
///
/// Besides the source only one row is in memory. Layers of multi-token prediction and a head that
/// is tied to the embedding are left out. `target` appears when it is whole.
///
/// # Errors
///
/// [`InteropError::Field`] for a configuration or tokenizer that llama.cpp does not have, and for a
/// tensor without a place; [`InteropError::MissingTensor`], [`InteropError::TensorShape`] and
/// [`InteropError::TensorDtype`] for tensors that do not fit the configuration; [`InteropError::Io`];
/// and what the source meets while reading.
pub fn write(
    model: HfModel<'_>,
    options: GgufOptions<'_>,
    target: &Path,
) -> Result<(), InteropError> {
    let config = Config::new(&model.path.join("config.json"), model.config);
    let layout = Layout::read(&config)?;
    let rope = Rope::read(&config)?;
    let entries = plan(&model, &layout, &rope)?;

    let mut metadata = model_keys(
        &config,
        &layout,
        &rope,
        &entries,
        options.name,
        options.dtype,
    )?;
    match model.tokenizer {
        Some(files) => {
            let path = model.path.join("tokenizer.json");
            metadata.extend(tokenizer_keys(
                files,
                &path,
                &config,
                layout.family,
                layout.vocab_size,
            )?);
        }
        // without the key llama.cpp does not load the file
        None => metadata.push(("tokenizer.ggml.model".to_owned(), NO_VOCAB.into())),
    }
    let tensor = |entry: &Entry| GgufTensor {
        name: entry.name.clone(),
        ggml_type: entry.stored_type(options.dtype).into(),
        shape: entry.shape.clone(),
    };
    let tensors: Vec<_> = entries.iter().map(tensor).collect();
    let mut writer = GgufWriter::create(target, &metadata, &tensors)?;
    for (done, entry) in entries.iter().enumerate() {
        (options.progress)(GgufProgress {
            tensor: &entry.name,
            done,
            total: entries.len(),
        });
        let stored = entry.stored_type(options.dtype);
        if let Origin::Values(values) = &entry.origin {
            let mut bytes = Vec::new();
            stored.encode(values, &mut bytes);
            writer.write(&bytes)?;
        }
        for piece in 0..entry.pieces() {
            write_piece(&model, entry, piece, stored, &mut writer)?;
        }
    }
    writer.finish()
}

/// All entries of the model, in the order in which the source has them. Each is known to be there.
fn plan(model: &HfModel<'_>, layout: &Layout, rope: &Rope) -> Result<Vec<Entry>, InteropError> {
    let mut places: HashMap<String, (usize, bool)> = model
        .tensors
        .names()
        .into_iter()
        .enumerate()
        .map(|(place, name)| (name, (place, false)))
        .collect();
    let mut entries = Vec::new();
    let mut add = |entry: Entry| {
        let mut first = usize::MAX;
        for piece in 0..entry.pieces() {
            let name = entry.origin.name(piece);
            check(model, &name, entry.piece_shape())?;
            if let Some((place, used)) = places.get_mut(&name) {
                first = first.min(*place);
                *used = true;
            }
        }
        entries.push((first, entry));
        Ok::<_, InteropError>(())
    };
    layout.outer_entries().into_iter().try_for_each(&mut add)?;
    for layer in 0..layout.num_hidden_layers {
        layout
            .layer_entries(layer)
            .into_iter()
            .try_for_each(&mut add)?;
    }

    let mut unused: Vec<_> = places
        .iter()
        .filter(|(name, (_, used))| !used && !left_out(layout, name))
        .collect();
    unused.sort_by_key(|(_, (place, _))| *place);
    if let Some((name, _)) = unused.first() {
        return Err(InteropError::Field {
            path: model.path.to_owned(),
            field: (*name).clone(),
            found: "a tensor without a place".to_owned(),
            expected: format!(
                "only tensors that the configuration gives `{}`",
                layout.family.architecture()
            ),
        });
    }
    entries.sort_by_key(|&(first, _)| first);
    let mut entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    if let (Scaling::Llama3(scaling), Attention::Gqa { head_dim, .. }) =
        (&rope.scaling, layout.attention)
    {
        entries.insert(0, Entry::rope_freqs(scaling.factors(rope.theta, head_dim)));
    }
    Ok(entries)
}

/// Whether GGUF has no such tensor, by design: a tied head, layers of multi-token prediction, computed frequencies.
fn left_out(layout: &Layout, name: &str) -> bool {
    let layer = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    (layout.tie_word_embeddings && name == "lm_head.weight")
        || layer.is_some_and(|layer| layer >= layout.num_hidden_layers)
        || name.ends_with(".rotary_emb.inv_freq")
}

fn check(model: &HfModel<'_>, name: &str, expected: &[usize]) -> Result<(), InteropError> {
    let (path, name) = (model.path.to_owned(), name.to_owned());
    match model.tensors.info(&name) {
        None => Err(InteropError::MissingTensor { path, name }),
        Some(TensorInfo { shape, .. }) if shape != expected => Err(InteropError::TensorShape {
            path,
            name,
            found: shape,
            expected: expected.to_vec(),
        }),
        Some(TensorInfo { dtype, .. }) if ggml_type(dtype).is_none() => {
            Err(dtype_error(model, &name, dtype))
        }
        Some(_) => Ok(()),
    }
}

fn dtype_error(model: &HfModel<'_>, name: &str, dtype: Dtype) -> InteropError {
    InteropError::TensorDtype {
        path: model.path.to_owned(),
        name: name.to_owned(),
        found: dtype.to_string(),
        expected: "F32, F16 or BF16".to_owned(),
    }
}

fn ggml_type(dtype: Dtype) -> Option<GgmlType> {
    match dtype {
        Dtype::F32 => Some(GgmlType::F32),
        Dtype::F16 => Some(GgmlType::F16),
        Dtype::BF16 => Some(GgmlType::Bf16),
        _ => None,
    }
}

/// Writes one of the tensors that an entry is made of, row by row.
fn write_piece(
    model: &HfModel<'_>,
    entry: &Entry,
    piece: usize,
    stored: OutType,
    writer: &mut GgufWriter,
) -> Result<(), InteropError> {
    let name = entry.origin.name(piece);
    let raw = model.tensors.tensor(&name)?;
    let shape = entry.piece_shape();
    let Some(source) = ggml_type(raw.dtype) else {
        return Err(dtype_error(model, &name, raw.dtype));
    };
    if source.tensor_bytes(shape) != Some(raw.bytes.len()) {
        return Err(InteropError::Malformed {
            path: model.path.to_owned(),
            found: format!("tensor `{name}` of {} bytes", raw.bytes.len()),
            expected: format!("{} {source} values", shape.iter().product::<usize>()),
        });
    }
    let size = raw.bytes.len() / shape.iter().product::<usize>();
    let length = entry.gather.row_length(&entry.shape);
    let rows = entry.shape.iter().product::<usize>() / entry.pieces() / length;
    let (mut gathered, mut values, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        gathered.clear();
        entry
            .gather
            .gather(row, length, size, &raw.bytes, &mut gathered);
        if source == stored.into() {
            writer.write(&gathered)?;
            continue;
        }
        values.clear();
        source.decode(&gathered, &mut values);
        encoded.clear();
        stored.encode(&values, &mut encoded);
        writer.write(&encoded)?;
    }
    Ok(())
}
