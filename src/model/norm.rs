//! Root-mean-square normalization.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

/// Parametrization of the factor of an [`RmsNorm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormWeight {
    /// The factor is the weight, initially one.
    #[default]
    Plain,
    /// The factor is one plus the weight, which is initially zero, so that weight decay pulls the factor to one.
    ZeroCentered,
}

/// Root-mean-square normalization, `x / sqrt(mean(x^2) + eps) * factor`. Built by
/// [`Initializers`](super::init::Initializers).
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// Weight, `[width]`; [`NormWeight`] says how it becomes the factor.
    pub weight: Param<Tensor<B, 1>>,
    eps: f64,
    #[module(skip)]
    counted: NormWeight,
}

impl<B: Backend> RmsNorm<B> {
    pub(super) fn new(weight: Param<Tensor<B, 1>>, eps: f64) -> Self {
        Self {
            weight,
            eps,
            counted: NormWeight::Plain,
        }
    }

    pub(super) fn counted_from(self, counted: NormWeight) -> Self {
        Self { counted, ..self }
    }
}

impl<B: Ops> RmsNorm<B> {
    /// Normalizes the last dimension.
    ///
    /// # Shapes
    ///
    /// - input, output: `[.., width]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let dims = input.dims();
        let width = dims[D - 1];
        let rows = dims.iter().product::<usize>() / width;
        let factor = match self.counted {
            NormWeight::Plain => self.weight.val(),
            NormWeight::ZeroCentered => self.weight.val().add_scalar(1.0),
        };
        B::rms_norm(input.reshape([rows, width]), factor, self.eps).reshape(dims)
    }
}
