//! Precision of a training step. The trained weights are always stored in f32.
//!
//! Micikevicius et al., mixed-precision training (<https://arxiv.org/abs/1710.03740>), section 3.1: in 16 bits, an
//! update smaller than the spacing of neighbouring numbers is lost, so updates accumulate in f32.

use burn::module::{Module, ModuleDisplay, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::model::CausalLm;
use crate::model::dtype::Dtype;

/// A precision that the backend does not support.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`training.precision` is {}, which backend `{backend}` has no arithmetic for: train in f32, by `--precision f32`",
    precision.format().name()
)]
pub struct PrecisionError {
    /// The requested precision.
    pub precision: Precision,
    /// Name of the backend.
    pub backend: String,
}

/// Type of weights and activations within a step.
///
/// Stored weights, gradients, AdamW's moments, checkpoints and evaluations are always f32. Within a step, so are
/// routers (with scores, biases, priors and counts), the softmax of attention, the sums of norms, decay rates, the
/// embedding table (whose gradient sums over all occurrences of a token) and the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, if the backend supports it.
    Bf16,
}

impl Precision {
    /// Number format of this precision.
    pub fn format(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
        }
    }

    /// The precision with this format; `None` if training does not support it.
    pub fn of(format: Dtype) -> Option<Self> {
        let all = [Self::F32, Self::Bf16];
        all.into_iter()
            .find(|precision| precision.format() == format)
    }

    /// Tensor type of this precision.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Checks that a device supports this type.
    ///
    /// # Errors
    ///
    /// [`PrecisionError`] if it does not.
    pub fn check<B: Backend>(self, device: &B::Device) -> Result<(), PrecisionError> {
        if B::supports_dtype(device, self.dtype()) {
            Ok(())
        } else {
            Err(PrecisionError {
                precision: self,
                backend: B::name(device),
            })
        }
    }

    /// The model to compute a step with, if it differs from `model`: weights are cast to this type, except
    /// those that [`Precision`] lists. Its gradients reach `model`, in f32.
    pub fn rounded<B, M, R>(self, model: &CausalLm<B, M, R>) -> Option<CausalLm<B, M, R>>
    where
        B: Backend,
        M: Module<B> + ModuleDisplay,
        R: Module<B> + ModuleDisplay,
    {
        if self == Self::F32 {
            return None;
        }
        // copies of lazy weights would each draw their own values, which no gradient would reach
        model.visit(&mut Drawn);
        let mut routers = Vec::new();
        let _ = model.clone().map_routers(|_, router| {
            routers.push(router.clone());
            router
        });
        let mut rounded = model.clone().map(&mut Rounded {
            dtype: self.dtype(),
            path: Vec::new(),
        });
        rounded.embed_tokens = model.embed_tokens.clone();
        Some(rounded.map_routers(|layer, _| routers[layer].clone()))
    }
}

/// Visitor that draws lazy weights.
struct Drawn;

impl<B: Backend> ModuleVisitor<B> for Drawn {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let _ = param.val();
    }
}

/// Names of decay rates, which are exponentiated.
const RATES: [&str; 2] = ["a_log", "dt_bias"];

/// Field of the prior, which is added to the routers' scores.
const PRIOR: &str = "domain_prior";

/// Mapper that casts parameters, except [`RATES`] and the [`PRIOR`]. Frozen ones are cast, too, so that they fit the
/// trained ones.
struct Rounded {
    dtype: DType,
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for Rounded {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let is_rate = self
            .path
            .last()
            .is_some_and(|it| RATES.contains(&it.as_str()));
        if is_rate || self.path.iter().any(|it| it == PRIOR) {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, tensor.cast(self.dtype), mapper)
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}
