//! LoRA adapters (<https://arxiv.org/abs/2106.09685>) in PEFT's format: `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! A weight `W` of `[out, in]` becomes `W + s B A`, where
//! - `A` is `lora_A.weight`, `[r, in]`, and `B` is `lora_B.weight`, `[out, r]`;
//! - `s` is `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
//!
//! For fused experts (`mlp.experts.gate_up_proj`, `mlp.experts.down_proj`) each expert has its own `A` and `B`. A
//! tensor that is stored whole (`modules_to_save`) replaces the base's.

mod config;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;

use super::malformed;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};
pub use writing::Adapters;

/// Name of an adapter's configuration file.
pub(super) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// A source of tensors with LoRA adapters applied.
#[derive(Debug)]
pub struct Adapted<S> {
    source: S,
    path: PathBuf,
    changes: BTreeMap<String, Change>,
}

/// The change of a tensor.
#[derive(Debug, Clone)]
enum Change {
    Replaced {
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
    Added(Update),
}

/// A matrix to be added: `factor * left * right`, row-major.
#[derive(Debug, Clone, PartialEq)]
struct Update {
    factor: f32,
    rank: usize,
    /// Left factor, `[rows, rank]`.
    left: Vec<f32>,
    /// Right factor, `[rank, columns]`.
    right: Vec<f32>,
}

impl<S: TensorSource> Adapted<S> {
    /// Applies the adapters in `folders` in order. `path` is that of `source`, which must have one tensor per routed
    /// expert; `is_tied` tells whether its output head is its embedding table.
    ///
    /// # Errors
    ///
    /// A folder without an adapter; an adapter that is not LoRA, or an unsupported form of it; a tensor that the base
    /// lacks or has in another shape.
    pub fn new(
        source: S,
        path: impl Into<PathBuf>,
        is_tied: bool,
        folders: &[PathBuf],
    ) -> Result<Self, InteropError> {
        let path = path.into();
        let mut changes = BTreeMap::new();
        for folder in folders {
            for (name, change) in reading::read(folder, &source)? {
                check(&source, &name, &change, is_tied, folder)?;
                if changes.insert(name.clone(), change).is_some() {
                    let found = format!("`{name}`, which another adapter changes too");
                    return Err(malformed(folder, found, "adapters of different tensors"));
                }
            }
        }
        Ok(Self {
            source,
            path,
            changes,
        })
    }

    /// The wrapped source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }
}

/// The adapters of a model folder: the one in the folder itself, then the one given by `asked`.
pub fn adapters(folder: &Path, asked: Option<&Path>) -> Vec<PathBuf> {
    let within = folder.join(CONFIG).is_file().then(|| folder.to_path_buf());
    let asked = asked.filter(|asked| within.as_deref() != Some(asked));
    within
        .into_iter()
        .chain(asked.map(Path::to_path_buf))
        .collect()
}

fn check(
    base: &dyn TensorSource,
    name: &str,
    change: &Change,
    is_tied: bool,
    folder: &Path,
) -> Result<(), InteropError> {
    let is_end = name.starts_with("lm_head.") || name.starts_with("model.embed_tokens.");
    if is_tied && is_end {
        let found = format!("a change of `{name}`, of which the head and the embedding are one");
        let expected = "a model whose head is its own, or an adapter of its layers";
        return Err(malformed(folder, found, expected));
    }
    let Some(TensorInfo { shape, .. }) = base.info(name) else {
        let found = format!("a change of `{name}`, which the model does not have");
        return Err(malformed(folder, found, "an adapter of this model"));
    };
    let found = match change {
        Change::Replaced { shape, .. } => shape.clone(),
        Change::Added(update) => {
            let columns = update.right.len() / update.rank;
            vec![update.left.len() / update.rank, columns]
        }
    };
    match found == shape {
        true => Ok(()),
        false => Err(InteropError::TensorShape {
            path: folder.to_path_buf(),
            name: name.into(),
            found,
            expected: shape,
        }),
    }
}

fn dtype_error(path: &Path, name: &str, dtype: Dtype) -> InteropError {
    InteropError::TensorDtype {
        path: path.to_path_buf(),
        name: name.into(),
        found: dtype.to_string(),
        expected: "F32, F16 or BF16".into(),
    }
}

fn floats(tensor: &RawTensor<'_>) -> Option<Vec<f32>> {
    let bytes = &tensor.bytes;
    let halves = bytes.as_chunks().0.iter().map(|it| u16::from_le_bytes(*it));
    match tensor.dtype {
        Dtype::F32 => {
            let values = bytes.as_chunks().0.iter();
            Some(values.map(|it| f32::from_le_bytes(*it)).collect())
        }
        Dtype::F16 => Some(halves.map(|it| f16::from_bits(it).to_f32()).collect()),
        Dtype::BF16 => Some(halves.map(|it| bf16::from_bits(it).to_f32()).collect()),
        _ => None,
    }
}

/// The bytes of values in one of the types of [`floats`].
fn bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let values = values.iter();
    match dtype {
        Dtype::F16 => values
            .flat_map(|it| f16::from_f32(*it).to_le_bytes())
            .collect(),
        Dtype::BF16 => values
            .flat_map(|it| bf16::from_f32(*it).to_le_bytes())
            .collect(),
        _ => values.flat_map(|it| it.to_le_bytes()).collect(),
    }
}

impl Update {
    /// Adds the update to a matrix.
    fn add_to(&self, matrix: &mut [f32]) {
        let columns = self.right.len() / self.rank;
        let rows = matrix.chunks_mut(columns.max(1));
        for (row, left) in rows.zip(self.left.chunks(self.rank)) {
            for (weight, right) in left.iter().zip(self.right.chunks(columns.max(1))) {
                let weight = self.factor * weight;
                for (value, right) in row.iter_mut().zip(right) {
                    *value += weight * right;
                }
            }
        }
    }
}

impl<S: TensorSource> TensorSource for Adapted<S> {
    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        match self.changes.get(name) {
            Some(Change::Replaced { dtype, shape, .. }) => Some(TensorInfo {
                dtype: *dtype,
                shape: shape.clone(),
            }),
            _ => self.source.info(name),
        }
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let update = match self.changes.get(name) {
            None => return self.source.tensor(name),
            Some(Change::Replaced {
                dtype,
                shape,
                bytes,
            }) => {
                return Ok(RawTensor {
                    dtype: *dtype,
                    shape: shape.clone(),
                    bytes: Cow::Borrowed(bytes),
                });
            }
            Some(Change::Added(update)) => update,
        };
        let tensor = self.source.tensor(name)?;
        let Some(mut values) = floats(&tensor) else {
            return Err(dtype_error(&self.path, name, tensor.dtype));
        };
        update.add_to(&mut values);
        Ok(RawTensor {
            bytes: Cow::Owned(bytes(&values, tensor.dtype)),
            ..tensor
        })
    }

    fn called(&self, name: &str) -> String {
        self.source.called(name)
    }
}
