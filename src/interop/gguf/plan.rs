//! The list of tensors to write to a GGUF file, with their sources in the checkpoint.

use std::collections::{HashMap, HashSet};

use super::ROPE_FREQS;
use super::blocks::{GgmlType, OutType, QK};
use super::convert::{HfModel, dtype_error, ggml_type};
use super::gather::Gather;
use super::llama3;
use super::names::{Names, Place, of_layer};
use super::writer::GgufTensor;
use crate::interop::hugging_face::HfConfig;
use crate::interop::{InteropError, TensorInfo};
use crate::model::rope::RopeScaling;

/// A GGUF tensor with its source.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) tensor: GgufTensor,
    /// Element type to write.
    pub(super) stored: OutType,
    /// Order of its values.
    pub(super) gather: Gather,
    pub(super) origin: Origin,
}

/// Source of a GGUF tensor.
#[derive(Debug)]
pub(super) enum Origin {
    /// Tensors of the checkpoint, concatenated.
    Tensors(Vec<String>),
    /// Computed values that the checkpoint does not have.
    Values(Vec<f32>),
}

impl Made {
    /// Number of source tensors.
    pub(super) fn pieces(&self) -> usize {
        match &self.origin {
            Origin::Tensors(names) => names.len(),
            Origin::Values(_) => 1,
        }
    }
}

/// All tensors of the model, in the order of the source, which is checked to have them.
pub(super) fn plan(model: &HfModel<'_>, matrices: OutType) -> Result<Vec<Made>, InteropError> {
    let config = model.config;
    let known = known(model)?;
    let mut made = Vec::new();
    if let (Some(RopeScaling::Llama3(scaling)), Some(gqa)) =
        (&config.model.rope.rope_scaling, &config.model.mixer.gqa)
    {
        let factors = llama3::factors(scaling, config.model.rope.rope_theta, gqa.head_dim);
        made.push(Made {
            tensor: GgufTensor {
                name: ROPE_FREQS.to_owned(),
                ggml_type: GgmlType::F32,
                shape: vec![factors.len()],
            },
            stored: OutType::F32,
            gather: Gather::Same,
            origin: Origin::Values(factors),
        });
    }
    let names = Names::of(config);
    // experts are pieces of one tensor, at the position of the first of them
    let mut stacks = HashMap::<String, (usize, Vec<(usize, String)>)>::new();
    for name in model.tensors.names() {
        if is_left_out(config, &name) {
            continue;
        }
        let place = names.theirs(&name).filter(|_| known.contains(&name));
        let Some(place) = place else {
            return Err(without_place(model, name));
        };
        let shape = shape(model, &name)?;
        let of = |gguf: String, shape: Vec<usize>, gather: Gather| {
            let stored = stored_type(&gguf, &shape, matrices);
            Made {
                tensor: GgufTensor {
                    ggml_type: stored.into(),
                    name: gguf,
                    shape,
                },
                stored,
                gather,
                origin: Origin::Tensors(vec![name.clone()]),
            }
        };
        match place {
            Place::One(gguf, gather) => {
                if let Gather::Rotary { head_dim } = gather {
                    let rows = shape[0] / head_dim * head_dim;
                    expect(model, &name, &shape, 0, rows)?;
                }
                made.push(of(gguf, shape, gather));
            }
            Place::KeysAndValues(parts) => {
                for (gguf, gather) in parts {
                    let (heads, rank, width) = match gather {
                        Gather::KeyB(dims) | Gather::ValueB(dims) => {
                            let width = dims.qk_nope_head_dim + dims.v_head_dim;
                            (shape[0] / width, dims.kv_lora_rank, width)
                        }
                        Gather::Same | Gather::Rotary { .. } => (0, 0, 0),
                    };
                    expect(model, &name, &shape, 0, heads * width)?;
                    expect(model, &name, &shape, 1, rank)?;
                    let shape = match gather {
                        Gather::KeyB(dims) => vec![heads, rank, dims.qk_nope_head_dim],
                        Gather::ValueB(dims) => vec![heads, dims.v_head_dim, rank],
                        Gather::Same | Gather::Rotary { .. } => shape.clone(),
                    };
                    made.push(of(gguf, shape, gather));
                }
            }
            Place::Expert(gguf, index) => {
                let stack = stacks.entry(gguf.clone()).or_insert_with(|| {
                    made.push(of(gguf, [&[0], &shape[..]].concat(), Gather::Same));
                    (made.len() - 1, Vec::new())
                });
                let tensor = &mut made[stack.0].tensor;
                if tensor.shape[1..] != shape {
                    return Err(InteropError::TensorShape {
                        path: model.path.to_owned(),
                        name,
                        found: shape,
                        expected: tensor.shape[1..].to_vec(),
                    });
                }
                tensor.shape[0] += 1;
                stack.1.push((index, name));
            }
        }
    }
    for (place, mut experts) in stacks.into_values() {
        experts.sort_unstable();
        let names = experts.into_iter().map(|(_, name)| name);
        made[place].origin = Origin::Tensors(names.collect());
    }
    Ok(made)
}

/// Names of the model's tensors, after checking that the source has them all.
fn known(model: &HfModel<'_>) -> Result<HashSet<String>, InteropError> {
    let config = model.config;
    let entries = config.family.entries(config).into_iter();
    let entries = entries.filter(|entry| entry.zeros.is_none());
    let names = entries.flat_map(|entry| entry.theirs);
    let names: HashSet<String> = names.map(|name| config.family.spelling(&name)).collect();
    let is_missing =
        |name: &&String| !is_left_out(config, name) && model.tensors.info(name).is_none();
    match names.iter().filter(is_missing).min() {
        None => Ok(names),
        Some(name) => Err(InteropError::MissingTensor {
            path: model.path.to_owned(),
            name: name.clone(),
        }),
    }
}

/// Whether GGUF leaves a tensor out by design: a tied head, multi-token prediction layers, computed frequencies.
fn is_left_out(config: &HfConfig, name: &str) -> bool {
    let layers = config.model.num_hidden_layers;
    (config.model.tie_word_embeddings && name == "lm_head.weight")
        || of_layer(name, "model.layers.").is_some_and(|(layer, _)| layer >= layers)
        || config.family.ignores(name)
}

/// Shape of a tensor, after checking that it can be written.
fn shape(model: &HfModel<'_>, name: &str) -> Result<Vec<usize>, InteropError> {
    match model.tensors.info(name) {
        None => Err(InteropError::MissingTensor {
            path: model.path.to_owned(),
            name: name.to_owned(),
        }),
        Some(TensorInfo { dtype, .. }) if ggml_type(dtype).is_none() => {
            Err(dtype_error(model, name, dtype))
        }
        Some(TensorInfo { shape, .. }) => {
            expect(model, name, &shape, 0, shape.first().copied().unwrap_or(1))?;
            Ok(shape)
        }
    }
}

/// Refuses a tensor whose size in this dimension is not `size`.
fn expect(
    model: &HfModel<'_>,
    name: &str,
    found: &[usize],
    dimension: usize,
    size: usize,
) -> Result<(), InteropError> {
    if found.get(dimension) == Some(&size) {
        return Ok(());
    }
    let mut expected = found.to_vec();
    expected.resize(expected.len().max(dimension + 1), size);
    expected[dimension] = size;
    Err(InteropError::TensorShape {
        path: model.path.to_owned(),
        name: name.to_owned(),
        found: found.to_vec(),
        expected,
    })
}

fn without_place(model: &HfModel<'_>, name: String) -> InteropError {
    let architecture = model.config.family.profile().gguf.map(|it| it.architecture);
    let architecture = architecture.unwrap_or_default();
    InteropError::Field {
        path: model.path.to_owned(),
        field: name,
        found: "a tensor without a place".to_owned(),
        expected: format!("only tensors that the configuration gives `{architecture}`"),
    }
}

/// Element type of a tensor in a file with `matrices` as matrix type.
///
/// It follows llama.cpp's converter: vectors, norms, routers and everything that is not a weight are F32, and Q8_0
/// falls back to F16 if rows are not a multiple of 32.
fn stored_type(name: &str, shape: &[usize], matrices: OutType) -> OutType {
    let exact =
        shape.len() < 2 || name.ends_with(".ffn_gate_inp.weight") || !name.ends_with(".weight");
    match (matrices, shape.last()) {
        _ if exact => OutType::F32,
        (OutType::Q8_0, Some(row)) if !row.is_multiple_of(QK) => OutType::F16,
        _ => matrices,
    }
}
