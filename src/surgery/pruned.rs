//! Weights of a model without some of its experts.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::kept::Kept;
use super::place::Place;
use crate::model::ModelConfig;
use crate::model::routing::domain::PRIOR;
use crate::model::weights::{WeightError, WeightSource, slice};

/// A source of weights that leaves out pruned experts and their router columns.
pub struct Pruned<'a> {
    source: &'a dyn WeightSource,
    kept: &'a Kept,
    /// Slots of the null experts, which stay.
    null: std::ops::Range<usize>,
}

impl std::fmt::Debug for Pruned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pruned")
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// The dimension of a tensor that counts experts or slots, and the indices that stay.
struct Cut {
    dimension: usize,
    stay: Vec<usize>,
}

impl<'a> Pruned<'a> {
    /// The weights of `source`, a model of `config`, without the experts that `kept` leaves out.
    pub fn new(source: &'a dyn WeightSource, config: &ModelConfig, kept: &'a Kept) -> Self {
        let moe = config.moe.as_ref();
        Self {
            source,
            kept,
            null: moe.map_or(0..0, |moe| moe.n_routed_experts..moe.slots()),
        }
    }

    /// The cut to apply to a tensor; `None` if it stays whole.
    fn cut(&self, name: &str) -> Option<Cut> {
        let dimensions = self.source.shape(name)?.len();
        let last = dimensions.checked_sub(1)?;
        let (dimension, is_of_slots) = match name {
            _ if name.contains(".experts.") => (0, false),
            _ if name.contains(".router.") => (last, true),
            PRIOR => (last, true),
            _ => return None,
        };
        let experts = match Place::of_parameter(name) {
            Some(place) => self.kept.experts.get(&place)?,
            // one table serves all layers, which keep equally many experts of each domain in the same order
            None => self.kept.experts.values().next()?,
        };
        let null = if is_of_slots { self.null.clone() } else { 0..0 };
        Some(Cut {
            dimension,
            stay: experts.iter().copied().chain(null).collect(),
        })
    }
}

impl Cut {
    fn of(&self, data: &TensorData) -> TensorData {
        let mut shape = data.shape.to_vec();
        let outer: usize = shape[..self.dimension].iter().product();
        let row = data.bytes.len() / outer.max(1);
        let entry = row / shape[self.dimension].max(1);
        let mut bytes = Vec::with_capacity(outer * self.stay.len() * entry);
        for row in data.bytes.chunks(row.max(1)) {
            for &at in &self.stay {
                bytes.extend_from_slice(&row[at * entry..][..entry]);
            }
        }
        shape[self.dimension] = self.stay.len();
        TensorData::from_bytes_vec(bytes, shape, data.dtype)
    }
}

impl WeightSource for Pruned<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shape = self.source.shape(name)?;
        if let Some(cut) = self.cut(name) {
            shape[cut.dimension] = cut.stay.len();
        }
        Some(shape)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(name)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let data = self.source.data(name)?;
        Ok(match self.cut(name) {
            Some(cut) => cut.of(&data),
            None => data,
        })
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        match self.cut(name) {
            Some(Cut { dimension: 0, stay }) => self.source.part(name, stay[index]),
            Some(_) => Ok(slice(&self.data(name)?, index)),
            None => self.source.part(name, index),
        }
    }
}
