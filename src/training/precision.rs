//! The type that a step computes in. The weights that are trained are f32 whatever it is.
//!
//! Micikevicius et al., mixed-precision training (<https://arxiv.org/abs/1710.03740>), section 3.1: an update that is
//! smaller than the step between two neighboring numbers of 16 bits is lost unless it adds up in more of them.

use burn::module::{Module, ModuleDisplay, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::model::CausalLm;
use crate::model::dtype::Dtype;

/// A type that the backend does not compute in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`training.precision` is {}, which backend `{backend}` has no arithmetic for: train in f32, by `--precision f32`",
    precision.format().name()
)]
pub struct PrecisionError {
    /// What was asked for.
    pub precision: Precision,
    /// The backend, as it names itself.
    pub backend: String,
}

/// Type of the weights and activations within a step.
///
/// Weights between steps, their gradients, AdamW's moments, checkpoints and evaluations are f32 in any case; so are
/// within a step routers with their scores, biases, priors and counts, the softmax of attention, the sums of norms,
/// the rates of decays, the embedding table, whose gradient is a sum over every place of a frequent token, and the
/// loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32, where the backend computes in them.
    Bf16,
}

impl Precision {
    /// The format of the numbers.
    pub fn format(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
        }
    }

    /// The precision with this format; none if no step computes in it.
    pub fn of(format: Dtype) -> Option<Self> {
        let all = [Self::F32, Self::Bf16];
        all.into_iter()
            .find(|precision| precision.format() == format)
    }

    /// The tensors' type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Checks that a device computes in this type.
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

    /// The model that a step computes with when it is another than `model`: trained weights in this type, all but
    /// those that [`Precision`] names. Its gradients are those of `model`, in f32.
    pub fn rounded<B, M, R>(self, model: &CausalLm<B, M, R>) -> Option<CausalLm<B, M, R>>
    where
        B: Backend,
        M: Module<B> + ModuleDisplay,
        R: Module<B> + ModuleDisplay,
    {
        if self == Self::F32 {
            return None;
        }
        // a copy of weights that are yet to be drawn would draw its own, which no gradient leads back from
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

/// Draws what is yet to be drawn.
struct Drawn;

impl<B: Backend> ModuleVisitor<B> for Drawn {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let _ = param.val();
    }
}

/// Rates of decays, which an exponential multiplies.
const RATES: [&str; 2] = ["a_log", "dt_bias"];

/// Casts what is trained, all but [`RATES`].
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
        if is_rate || !param.is_require_grad() {
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
