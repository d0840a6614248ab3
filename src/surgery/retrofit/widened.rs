//! Weights of a model with slots added for null experts.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use crate::model::ModelConfig;
use crate::model::routing::domain::PRIOR;
use crate::model::weights::{WeightError, WeightSource};

/// A source of weights whose routers have columns for null experts, each the mean of the experts' columns.
pub struct Widened<'a> {
    source: &'a dyn WeightSource,
    experts: usize,
    null: usize,
}

impl std::fmt::Debug for Widened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Widened")
            .field("experts", &self.experts)
            .field("null", &self.null)
            .finish_non_exhaustive()
    }
}

/// Values of the new columns of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// The mean of the experts' columns.
    Mean,
    /// Zero: new slots have no bias and no domain.
    Zero,
}

impl<'a> Widened<'a> {
    /// The weights of `source` for a model of `config`, which has null experts.
    pub fn new(source: &'a dyn WeightSource, config: &ModelConfig) -> Self {
        let moe = config.moe.as_ref();
        Self {
            source,
            experts: moe.map_or(0, |moe| moe.n_routed_experts),
            null: moe.map_or(0, |moe| moe.router.null_experts),
        }
    }

    /// Values of the columns to add; `None` for tensors whose last dimension does not count slots.
    fn fill(&self, name: &str) -> Option<Fill> {
        let shape = self.source.shape(name)?;
        let counts_slots = shape.last() == Some(&self.experts);
        let fill = match name {
            PRIOR => Fill::Zero,
            _ if name.ends_with(".router.gate.weight") => Fill::Mean,
            _ if name.ends_with(".router.gate.bias") => Fill::Mean,
            _ if name.ends_with(".router.e_score_correction_bias") => Fill::Zero,
            _ => return None,
        };
        counts_slots.then_some(fill)
    }
}

impl WeightSource for Widened<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shape = self.source.shape(name)?;
        if let (Some(_), Some(last)) = (self.fill(name), shape.last_mut()) {
            *last += self.null;
        }
        Some(shape)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(name)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let data = self.source.data(name)?;
        let Some(fill) = self.fill(name) else {
            return Ok(data);
        };
        let (dtype, mut shape) = (data.dtype, data.shape.to_vec());
        let values: Vec<f32> = data.iter::<f32>().collect();
        let wide = values.chunks(self.experts).flat_map(|row| {
            let new = match fill {
                Fill::Mean => row.iter().sum::<f32>() / self.experts as f32,
                Fill::Zero => 0.0,
            };
            row.iter().copied().chain(vec![new; self.null])
        });
        let wide: Vec<f32> = wide.collect();
        if let Some(last) = shape.last_mut() {
            *last += self.null;
        }
        Ok(TensorData::new(wide, shape).convert_dtype(dtype))
    }
}
