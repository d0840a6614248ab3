//! Writes a Hugging Face checkpoint as GGUF, one tensor at a time.

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

/// The checkpoint that becomes a GGUF file.
#[derive(Clone, Copy)]
pub struct HfModel<'a> {
    /// Its folder. Only messages name it; nothing is read from there.
    pub path: &'a Path,
    /// Its configuration.
    pub config: &'a HfConfig,
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
/// [`InteropError::NoGguf`] for a family that llama.cpp does not have here; [`InteropError::Field`] for a configuration
/// or tokenizer that it does not have, and for a tensor without a place; [`InteropError::MissingTensor`],
/// [`InteropError::TensorShape`] and [`InteropError::TensorDtype`] for tensors that do not fit the configuration;
/// [`InteropError::Io`]; and what the source meets while reading.
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

/// The ggml type of a tensor that is written.
pub(super) fn ggml_type(dtype: Dtype) -> Option<GgmlType> {
    match dtype {
        Dtype::F32 => Some(GgmlType::F32),
        Dtype::F16 => Some(GgmlType::F16),
        Dtype::BF16 => Some(GgmlType::Bf16),
        _ => None,
    }
}

/// Writes one of the tensors that a GGUF tensor is made of, row by row.
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
