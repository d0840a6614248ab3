//! Dense feed-forward with activation sparsity: it keeps only the largest inner activations.
//!
//! As in Genesis-152M: by default dense in training, and in inference with a hard mask of the `k` largest magnitudes
//! of every token. The mask is not continuous: a rounding error may swap two activations of nearly equal magnitude.

mod schedule;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use darkhorse_backends::{Ops, largest};
use serde::{Deserialize, Serialize};

use crate::model::context::Phase;
use crate::model::error::ModelConfigError;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
pub use schedule::{SparsityCurve, SparsitySchedule};

/// Configuration of [`Selective`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectiveConfig {
    /// Fraction of the activations that is kept.
    pub k_ratio: f64,
    /// Type of the mask.
    #[serde(default)]
    pub mask: SelectiveMask,
    /// Phases in which the mask applies.
    #[serde(default)]
    pub applies: SelectivePhase,
    /// Schedule by which the kept fraction falls to `k_ratio` during training, for a mask that applies
    /// [always](SelectivePhase::Always). Inference uses `k_ratio`. Absent: `k_ratio` throughout.
    #[serde(default)]
    pub schedule: Option<SparsitySchedule>,
}

/// Mask on activations by magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectiveMask {
    /// Activations below the `k`-th largest magnitude are zeroed.
    #[default]
    Hard,
    /// All activations are multiplied by `sigmoid((|h| - |h_k|) / temperature)`, where `h_k` is the `k`-th largest.
    Soft {
        /// Width of the transition.
        temperature: f64,
    },
}

/// Phases in which the mask applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectivePhase {
    /// Inference only.
    #[default]
    Inference,
    /// Training and inference.
    Always,
}

impl SelectiveConfig {
    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        if !(self.k_ratio > 0.0 && self.k_ratio <= 1.0) {
            return Err(ModelConfigError::NotAFraction {
                field: "k_ratio".into(),
                value: self.k_ratio,
            });
        }
        if let SelectiveMask::Soft { temperature } = self.mask {
            ModelConfigError::positive("mask.soft.temperature", temperature)?;
        }
        match &self.schedule {
            Some(_) if self.applies == SelectivePhase::Inference => {
                Err(ModelConfigError::NoEffect {
                    field: "schedule".into(),
                    because: "the mask applies in inference only: set `applies` to `always`",
                })
            }
            Some(schedule) => schedule.validate().map_err(|it| it.within("schedule")),
            None => Ok(()),
        }
    }

    /// Number of activations kept out of `width`, at a training step or, without one, after training.
    pub fn kept(&self, width: usize, step: Option<u64>) -> usize {
        let ratio = match (&self.schedule, step) {
            (Some(schedule), Some(step)) => schedule.k_ratio_at(step, self.k_ratio),
            _ => self.k_ratio,
        };
        ((width as f64 * ratio) as usize).max(1)
    }
}

/// `down(mask(silu(gate(x)) * up(x)))`.
#[derive(Module, Debug)]
pub struct Selective<B: Backend> {
    /// `[hidden_size, width]`.
    pub gate_proj: Linear<B>,
    /// `[hidden_size, width]`.
    pub up_proj: Linear<B>,
    /// `[width, hidden_size]`.
    pub down_proj: Linear<B>,
    #[module(skip)]
    config: SelectiveConfig,
}

impl<B: Backend> Selective<B> {
    pub(super) fn init(
        width: usize,
        config: &SelectiveConfig,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let hidden = init.config().hidden_size;
        let bias = Bias::when(init.config().mlp_bias);
        Self {
            gate_proj: init.linear(hidden, width, device).with(bias),
            up_proj: init.linear(hidden, width, device).with(bias),
            down_proj: init.residual_linear(width, hidden, device).with(bias),
            config: config.clone(),
        }
    }

    pub(in crate::model) fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            gate_proj: scope.linear("gate_proj", self.gate_proj),
            up_proj: scope.linear("up_proj", self.up_proj),
            down_proj: scope.linear("down_proj", self.down_proj),
            ..self
        }
    }
}

impl<B: Ops> Selective<B> {
    /// Transforms every row, at a training step or, without one, after training.
    ///
    /// # Shapes
    ///
    /// - input, output: `[.., hidden_size]`
    pub fn forward<const D: usize>(
        &self,
        input: Tensor<B, D>,
        phase: Phase,
        step: Option<u64>,
    ) -> Tensor<B, D> {
        let dims = input.dims();
        let rows = dims[..D - 1].iter().product::<usize>();
        let input = input.reshape([rows, dims[D - 1]]);
        let inner = self.inner(input);
        let kept = match (self.config.applies, phase) {
            (SelectivePhase::Inference, Phase::Training) => inner,
            _ => self.kept(inner, step),
        };
        self.down_proj.forward(kept).reshape(dims)
    }

    /// Inner activations before the mask, `[tokens, width]`.
    pub fn inner(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], input);
        B::swiglu(gate, up)
    }

    /// Mask of the `count` largest activations of every row, `[tokens, width]`.
    pub fn mask(&self, inner: Tensor<B, 2>, count: usize) -> Tensor<B, 2> {
        let magnitude = inner.abs();
        match self.config.mask {
            SelectiveMask::Hard => {
                let dtype = magnitude.dtype();
                B::largest(magnitude, count).cast(dtype)
            }
            SelectiveMask::Soft { temperature } => {
                let threshold = largest::reference::kth_largest(magnitude.clone(), count);
                sigmoid((magnitude - threshold).div_scalar(temperature + 1e-8))
            }
        }
    }

    fn kept(&self, inner: Tensor<B, 2>, step: Option<u64>) -> Tensor<B, 2> {
        let [_, width] = inner.dims();
        let count = self.config.kept(width, step);
        match self.config.mask {
            SelectiveMask::Hard if count >= width => inner,
            SelectiveMask::Hard => B::keep_largest(inner, count),
            SelectiveMask::Soft { .. } => inner.clone() * self.mask(inner, count),
        }
    }
}
