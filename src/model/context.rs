//! Inputs that all layers of one forward pass share.

use std::ops::Range;

use burn::tensor::backend::Backend;
use darkhorse_backends::attention::AttentionMask;

use super::rope::Rotation;
use super::routing::Surroundings;

/// Purpose of a pass, for layers that compute differently in training and inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Weights are being trained.
    Training,
    /// Weights are fixed.
    Inference,
}

impl Phase {
    /// Training on a backend with autodiff, inference on any other.
    pub fn of<B: Backend>(device: &B::Device) -> Self {
        if B::ad_enabled(device) {
            Self::Training
        } else {
            Self::Inference
        }
    }
}

/// Inputs of every layer beside the residual stream.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// Rotary positions of the tokens.
    pub rotation: Rotation<B>,
    /// Attention mask of whole sequences.
    pub mask: AttentionMask<B>,
    /// Inputs of the router beside the tokens, `[batch * seq, slots]`.
    pub around: Surroundings<B>,
    /// Training or inference.
    pub phase: Phase,
    /// Training step, for layers that follow a schedule; absent: the end of training.
    pub step: Option<u64>,
}

impl<B: Backend> Context<B> {
    /// Context of a range of positions, with a causal mask and without router inputs.
    pub fn rows(&self, range: Range<usize>) -> Self {
        Self {
            rotation: self.rotation.rows(range),
            mask: AttentionMask::Causal,
            around: Surroundings::default(),
            phase: self.phase,
            step: self.step,
        }
    }
}
