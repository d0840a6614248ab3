//! One GGUF tensor: its name, its shape, and the tensors of the checkpoint that it is made of.

use super::blocks::{OutType, QK};
use super::gather::Gather;

/// A GGUF tensor and its origin.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name in the GGUF file.
    pub(super) name: String,
    /// Its shape there, outermost dimension first.
    pub(super) shape: Vec<usize>,
    /// The order of its values.
    pub(super) gather: Gather,
    /// The tensors of the checkpoint that hold them.
    pub(super) origin: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A tensor of this name and shape.
    Tensor(String, Vec<usize>),
    /// For each expert a tensor, one after the other: `{before}{expert}{after}`.
    Experts { before: String, after: &'static str },
    /// Not in the checkpoint: these values.
    Values(Vec<f32>),
}

impl Origin {
    /// The checkpoint's name of expert `expert`, or of the one tensor.
    pub(super) fn name(&self, expert: usize) -> String {
        match self {
            Self::Tensor(name, _) => name.clone(),
            Self::Experts { before, after } => format!("{before}{expert}{after}"),
            Self::Values(_) => String::new(),
        }
    }
}

impl Entry {
    pub(super) fn same(name: String, origin: String, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self {
            name,
            shape: shape.clone(),
            gather: Gather::Same,
            origin: Origin::Tensor(origin, shape),
        }
    }

    /// The correction factors of llama3's scaled rotary embedding.
    pub(super) fn rope_freqs(factors: Vec<f32>) -> Self {
        let shape = vec![factors.len()];
        Self {
            name: ROPE_FREQS.to_owned(),
            shape,
            gather: Gather::Same,
            origin: Origin::Values(factors),
        }
    }

    /// Tensors of the checkpoint that this one is made of.
    pub(super) fn pieces(&self) -> usize {
        match self.origin {
            Origin::Experts { .. } => self.shape[0],
            Origin::Tensor(..) => 1,
            Origin::Values(_) => 0,
        }
    }

    /// Shape of each of them.
    pub(super) fn piece_shape(&self) -> &[usize] {
        match &self.origin {
            Origin::Experts { .. } => &self.shape[1..],
            Origin::Tensor(_, shape) => shape,
            Origin::Values(_) => &self.shape,
        }
    }

    /// The type that it has in a file whose matrices are `matrices`.
    ///
    /// As llama.cpp's converter decides: tensors of one dimension, norms, routers and whatever is
    /// no weight are F32; Q8_0 falls back to F16 where a row is no multiple of 32.
    pub(super) fn stored_type(&self, matrices: OutType) -> OutType {
        let exact = self.shape.len() < 2
            || self.name.ends_with(".ffn_gate_inp.weight")
            || !self.name.ends_with(".weight");
        match (matrices, self.shape.last()) {
            _ if exact => OutType::F32,
            (OutType::Q8_0, Some(row)) if !row.is_multiple_of(QK) => OutType::F16,
            _ => matrices,
        }
    }
}

/// Name of the tensor of [`Entry::rope_freqs`].
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";
