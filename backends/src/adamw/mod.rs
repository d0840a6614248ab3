//! Adam with decoupled weight decay (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>).

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// First and second moment of a parameter's gradient, `[elements]` each.
#[derive(Debug, Clone)]
pub struct Moments<B: Backend> {
    /// First moment `m`, a running mean of the gradient.
    pub first: Tensor<B, 1>,
    /// Second moment `v`, a running mean of the squared gradient.
    pub second: Tensor<B, 1>,
}

/// Hyperparameters of one update.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay rate of the first moment.
    pub beta_1: f64,
    /// Decay rate of the second moment.
    pub beta_2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub time: u64,
    /// Factor on the gradient, for clipping by the global norm.
    pub gradient_scale: f64,
}
