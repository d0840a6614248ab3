//! Conversion of a Hugging Face checkpoint to GGUF, one tensor at a time.

use std::fmt;
use std::path::Path;

use safetensors::Dtype;

use super::blocks::{GgmlType, OutType};
use super::metadata::{check, model_keys};
use super::plan::{Made, Origin, plan};
use super::size_label::size_label;
use super::tokenizer::{TokenizerFiles, tokenizer_keys};
use super::tokenizer_json::NO_VOCAB;
use super::writer::GgufWriter;
use crate::interop::hugging_face::HfConfig;
use crate::interop::{InteropError, TensorSource};

/// A checkpoint to be converted.
#[derive(Clone, Copy)]
pub struct HfModel<'a> {
    /// Folder of the checkpoint, for messages only; nothing is read from it.
    pub path: &'a Path,
    /// Configuration of the model.
    pub config: &'a HfConfig,
    /// Tokenizer, if the file is to have one.
    pub tokenizer: Option<&'a TokenizerFiles>,
    /// Tensors in F32, F16 or BF16, one per expert.
    pub tensors: &'a dyn TensorSource,
}

impl fmt::Debug for HfModel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HfModel")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Options of writing a GGUF file.
pub struct GgufOptions<'a> {
    /// Element type of the matrices. Vectors and routers are always F32.
    pub dtype: OutType,
    /// Name of the model, for `general.name`.
    pub name: &'a str,
    /// Callback before each tensor.
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

/// Progress of the conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufProgress<'a> {
    /// Name of the next GGUF tensor.
    pub tensor: &'a str,
    /// Number of tensors written.
    pub done: usize,
    /// Total number of tensors.
    pub total: usize,
}

/// Converts a checkpoint to the GGUF file `target`, as llama.cpp's converter does.
///
/// Only one row besides the source is in memory. Multi-token prediction layers and an output head that is tied to the
/// embedding are left out. `target` is created atomically.
///
/// # Errors
///
/// [`InteropError::NoGguf`] for a family without a GGUF form here; [`InteropError::Field`] for a configuration or a
/// tokenizer that llama.cpp does not support, and for a tensor without a place; [`InteropError::MissingTensor`],
/// [`InteropError::TensorShape`] and [`InteropError::TensorDtype`] for tensors that do not fit the configuration;
/// [`InteropError::Io`]; and errors of the source.
pub fn write(
    model: HfModel<'_>,
    options: GgufOptions<'_>,
    target: &Path,
) -> Result<(), InteropError> {
    let profile = model.config.family.profile();
    let Some(gguf) = profile.gguf else {
        return Err(InteropError::NoGguf {
            path: model.path.to_owned(),
            family: profile.name,
        });
    };
    check(model.config, &gguf, &model.path.join("config.json"))?;
    let made = plan(&model, options.dtype)?;
    let label = size_label(&made);
    let mut metadata = model_keys(model.config, &gguf, label, options.name, options.dtype);
    match model.tokenizer {
        Some(files) => {
            let path = model.path.join("tokenizer.json");
            metadata.extend(tokenizer_keys(files, &path, model.config, &gguf)?);
        }
        // without the key llama.cpp does not load the file
        None => metadata.push(("tokenizer.ggml.model".to_owned(), NO_VOCAB.into())),
    }
    let tensors: Vec<_> = made.iter().map(|it| it.tensor.clone()).collect();
    let mut writer = GgufWriter::create(target, &metadata, &tensors)?;
    for (done, made) in made.iter().enumerate() {
        (options.progress)(GgufProgress {
            tensor: &made.tensor.name,
            done,
            total: tensors.len(),
        });
        match &made.origin {
            Origin::Values(values) => {
                let mut bytes = Vec::new();
                made.stored.encode(values, &mut bytes);
                writer.write(&bytes)?;
            }
            Origin::Tensors(names) => {
                for name in names {
                    write_piece(&model, made, name, &mut writer)?;
                }
            }
        }
    }
    writer.finish()
}

pub(super) fn dtype_error(model: &HfModel<'_>, name: &str, dtype: Dtype) -> InteropError {
    InteropError::TensorDtype {
        path: model.path.to_owned(),
        name: name.to_owned(),
        found: dtype.to_string(),
        expected: "F32, F16 or BF16".to_owned(),
    }
}

/// ggml type for an element type.
pub(super) fn ggml_type(dtype: Dtype) -> Option<GgmlType> {
    match dtype {
        Dtype::F32 => Some(GgmlType::F32),
        Dtype::F16 => Some(GgmlType::F16),
        Dtype::BF16 => Some(GgmlType::Bf16),
        _ => None,
    }
}

/// Writes one of the source tensors of a GGUF tensor, row by row.
fn write_piece(
    model: &HfModel<'_>,
    made: &Made,
    name: &str,
    writer: &mut GgufWriter,
) -> Result<(), InteropError> {
    let raw = model.tensors.tensor(name)?;
    let Some(source) = ggml_type(raw.dtype) else {
        return Err(dtype_error(model, name, raw.dtype));
    };
    let count = made.tensor.shape.iter().product::<usize>() / made.pieces();
    let whole = raw.shape.iter().product::<usize>();
    if source.tensor_bytes(&raw.shape) != Some(raw.bytes.len()) || whole == 0 {
        return Err(InteropError::Malformed {
            path: model.path.to_owned(),
            found: format!("tensor `{name}` of {} bytes", raw.bytes.len()),
            expected: format!("{whole} {source} values"),
        });
    }
    let size = raw.bytes.len() / whole;
    let length = made.gather.row_length(&made.tensor.shape);
    let stored = made.stored;
    let (mut gathered, mut values, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..count / length {
        gathered.clear();
        made.gather
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
