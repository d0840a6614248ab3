//! Conversion of carved routers to routers that other formats have.
//!
//! A carved router ranks its experts by the logits `x W + a`, and every chosen expert has the gate 1. DeepSeek-V3's
//! router, which other engines compute, ranks by `s + b` and has the gates `k s / sum(s)`, where
//! - `s = sigmoid(x W')` are the affinities, with `W' = t W` for a small temperature `t`;
//! - `b = t a / 4` is the bias of the choice, and `k` the number of chosen experts.
//!
//! Since `sigmoid(t z)` is nearly `1/2 + t z / 4`, the ranks are those of the logits and the gates are nearly equal.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use crate::model::ModelConfig;
use crate::model::routing::{GateRule, RouterConfig, ScoringFunc};
use crate::model::weights::{WeightError, WeightSource};

/// The temperature `t`, a power of two so that weights stay exact. Gates differ from 1 by about `t z / 2` for
/// standardized logits `z`, and logits that differ by less than `2e-7 / t` change their ranks by rounding.
const TEMPERATURE: f32 = 1.0 / 4096.0;

const INTERCEPT: &str = ".router.gate.bias";
const CENTROIDS: &str = ".router.gate.weight";
const SCALE: &str = ".router.unit_scale";
const CHOICE: &str = ".router.e_score_correction_bias";

/// Why a carved router has no counterpart in other formats.
#[derive(Debug, thiserror::Error)]
pub enum UnequalGates {
    /// Training gave experts gates that depend on the token.
    #[error(
        "`{0}` is not zero: training changed the gates from the 1 that they are after carving, and no other format has \
         such gates; keep the model as a run"
    )]
    Trained(String),
    /// The choice has a bias beside the intercept.
    #[error(
        "`{0}` is not zero: the bias that balances a carved router has no place beside its intercept in other formats; \
         keep the model as a run"
    )]
    Balanced(String),
    /// A tensor cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
}

/// Tensors of a carved model whose routers are DeepSeek-V3's.
pub struct EqualGates {
    source: Box<dyn WeightSource>,
}

impl std::fmt::Debug for EqualGates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EqualGates").finish_non_exhaustive()
    }
}

impl EqualGates {
    /// Whether the routers of a model are carved ones.
    pub fn concerns(model: &ModelConfig) -> bool {
        let router = model.moe.as_ref().map(|moe| &moe.router);
        router.is_some_and(|router| router.gate == GateRule::UnitScale)
    }

    /// Converts a carved model.
    ///
    /// # Errors
    ///
    /// [`UnequalGates`] if training changed the gates or the balance.
    pub fn new(
        source: Box<dyn WeightSource>,
        model: &ModelConfig,
    ) -> Result<(Self, ModelConfig), UnequalGates> {
        for name in source.names() {
            let is_zero = |name: &str| -> Result<bool, WeightError> {
                Ok(source.data(name)?.iter::<f32>().all(|value| value == 0.0))
            };
            if name.ends_with(SCALE) && !is_zero(&name)? {
                return Err(UnequalGates::Trained(name));
            }
            if name.ends_with(CHOICE) && !is_zero(&name)? {
                return Err(UnequalGates::Balanced(name));
            }
        }
        let mut model = model.clone();
        if let Some(moe) = &mut model.moe {
            moe.router = RouterConfig {
                scoring_func: ScoringFunc::Sigmoid,
                gate: GateRule::Affinity,
                intercept: false,
                norm_topk_prob: true,
                routed_scaling_factor: moe.num_experts_per_tok as f64,
                ..moe.router.clone()
            };
        }
        Ok((Self { source }, model))
    }

    /// Name of the intercept of the router to which a bias of the choice belongs, if the router has one.
    fn intercept(&self, name: &str) -> Option<String> {
        let intercept = format!("{}{INTERCEPT}", name.strip_suffix(CHOICE)?);
        self.source.shape(&intercept).map(|_| intercept)
    }
}

fn times(data: &TensorData, factor: f32) -> TensorData {
    let values: Vec<f32> = data.iter::<f32>().map(|value| value * factor).collect();
    TensorData::new(values, data.shape.clone())
}

impl WeightSource for EqualGates {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        names.retain(|name| !name.ends_with(INTERCEPT) && !name.ends_with(SCALE));
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(name)
    }

    fn held(&self, name: &str) -> Option<DType> {
        self.source.held(name)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        if let Some(intercept) = self.intercept(name) {
            return Ok(times(&self.source.data(&intercept)?, TEMPERATURE / 4.0));
        }
        let data = self.source.data(name)?;
        if name.ends_with(CENTROIDS) {
            let dtype = data.dtype;
            return Ok(times(&data, TEMPERATURE).convert_dtype(dtype));
        }
        Ok(data)
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        self.source.part(name, index)
    }
}
