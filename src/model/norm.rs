//! Root-mean-square normalization.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

/// What a weight of a [`RmsNorm`] is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormWeight {
    /// It is the factor itself, one at first.
    #[default]
    Plain,
    /// The factor is one more than it; zero at first, so that decay pulls the factor to one.
    ZeroCentered,
}

/// Scales every row to a root mean square of one, then by `weight`. Built by
/// [`Initializers`](super::init::Initializers).
#[derive(Module, Debug)]
pub struct RmsNorm<B: Backend> {
    /// `[width]`.
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
