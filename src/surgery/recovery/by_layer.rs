//! The error of the states after every layer.

use burn::tensor::{DType, Tensor};

use crate::training::TrainingBackend;

/// Smallest squared length of a teacher's state, so that no error is divided by zero.
const LEAST: f64 = 1e-12;

/// `mean_l mean_t ||h_lt - g_lt||^2 / ||g_lt||^2`, `[1]`, where `h` are the states `own` after layer `l` and `g` the
/// states `taught`. Lengths differ by orders of magnitude between tokens, and every token counts alike.
///
/// # Shapes
///
/// - states: `[rows, seq, hidden_size]`
pub(super) fn layer_error<B: TrainingBackend>(
    own: impl Iterator<Item = Tensor<B, 3>>,
    taught: impl Iterator<Item = Tensor<B::InnerBackend, 3>>,
) -> Tensor<B, 1> {
    let errors = own.zip(taught).map(|(own, taught)| {
        let own = own.cast(DType::F32);
        let taught = taught.cast(DType::F32);
        let length = taught.clone().powi_scalar(2).sum_dim(2).clamp_min(LEAST);
        let apart = own - Tensor::from_inner(taught);
        let error = apart.powi_scalar(2).sum_dim(2);
        (error * Tensor::from_inner(length.recip())).mean()
    });
    let errors: Vec<_> = errors.collect();
    let layers = errors.len().max(1) as f64;
    Tensor::cat(errors, 0).sum().div_scalar(layers)
}
