//! What every layer of one forward pass shares.

use std::ops::Range;

use burn::tensor::backend::Backend;
use darkhorse_backends::attention::AttentionMask;

use super::rope::Rotation;
use super::routing::Surroundings;

/// What a pass is for, where a layer computes one thing while it is trained and another later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The weights are being fitted.
    Training,
    /// The weights are used.
    Inference,
}

impl Phase {
    /// Training on a backend that differentiates, inference on any other.
    pub fn of<B: Backend>(device: &B::Device) -> Self {
        match B::ad_enabled(device) {
            true => Self::Training,
            false => Self::Inference,
        }
    }
}

/// What the layers need to know beside the residual stream.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// Rotary positions of the tokens.
    pub rotation: Rotation<B>,
    /// What a position may attend to, for whole sequences.
    pub mask: AttentionMask<B>,
    /// What the choice of experts looks at beside the tokens, `[batch * seq, slots]`.
    pub around: Surroundings<B>,
    /// What the pass is for.
    pub phase: Phase,
    /// Step of the training that the pass belongs to, where a layer follows a schedule; absent: its end.
    pub step: Option<u64>,
}

impl<B: Backend> Context<B> {
    /// The same for a range of the positions, without what whole batches have.
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
