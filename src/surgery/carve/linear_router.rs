//! A router's logits as a linear function of its input.

use burn::tensor::TensorData;

/// Logits `w_e . x + a_e`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearRouter {
    /// Length of an input.
    pub hidden: usize,
    /// `w`, `[hidden_size, experts]`.
    pub weights: Vec<f32>,
    /// `a`, `[experts]`.
    pub intercepts: Vec<f32>,
}

impl LinearRouter {
    /// Whether all numbers are finite.
    pub(super) fn is_finite(&self) -> bool {
        let all = self.weights.iter().chain(&self.intercepts);
        all.copied().all(f32::is_finite)
    }

    /// `w` as a tensor's data.
    pub(super) fn weights(&self) -> TensorData {
        TensorData::new(self.weights.clone(), [self.hidden, self.intercepts.len()])
    }

    /// `a` as a tensor's data.
    pub(super) fn intercepts(&self) -> TensorData {
        TensorData::new(self.intercepts.clone(), [self.intercepts.len()])
    }
}
