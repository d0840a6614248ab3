//! Linear attention with a decaying matrix state: gated linear attention, the chunk-level delta rule of
//! Genesis-152M, and the gated delta rule. `README.md` derives the formulas.

pub mod chunked;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "flex")]
pub(crate) mod flex_backward;
#[cfg(feature = "flex")]
pub(crate) mod flex_token;
pub mod layer;
pub mod reference;
mod runs;
#[cfg(feature = "flex")]
mod solve;

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::attention::AttentionMask;
pub use crate::heads::HeadSharing;
use crate::ops::Ops;
pub use layer::{Decay, Given, HeadNorm, Layer, Mixed, Moment, Positions};
pub use runs::runs;

/// Update rule of the state `S_t`, for key `k_t`, value `v_t`, log decay `g_t` and write strength `b_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateRule {
    /// `S_t = e^{g_t} S_{t-1} + k_t v_t^T` (gated linear attention, <https://arxiv.org/abs/2312.06635>,
    /// with one decay per head).
    #[default]
    Additive,
    /// [`Additive`](Self::Additive) within chunks, counted from the first token of a document; the state passed to
    /// the next chunk is corrected by a delta rule.
    ChunkDelta {
        /// Number of tokens per chunk.
        chunk: usize,
    },
    /// `S_t = e^{g_t} S_{t-1} + b_t k_t (v_t - e^{g_t} S_{t-1}^T k_t)^T` (Gated DeltaNet,
    /// <https://arxiv.org/abs/2412.06464>).
    Delta,
}

/// Settings of linear attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearAttentionOptions {
    /// Update rule of the state.
    pub rule: UpdateRule,
    /// Factor on the output.
    pub scale: f64,
}

/// Inputs of linear attention.
#[derive(Debug, Clone)]
pub struct LinearAttention<B: Backend> {
    /// `[batch, seq, heads, key_dim]`.
    pub query: Tensor<B, 4>,
    /// `[batch, seq, heads, key_dim]`.
    pub key: Tensor<B, 4>,
    /// `[batch, seq, heads, value_dim]`.
    pub value: Tensor<B, 4>,
    /// Logarithm of the decay, at most zero, `[batch, seq, heads]`.
    pub log_decay: Tensor<B, 3>,
    /// Write strength, 0 to 1, `[batch, seq, heads]`; ignored by [`UpdateRule::Additive`].
    pub write: Tensor<B, 3>,
    /// Initial state, `[batch, heads, key_dim, value_dim]`; it applies to the first document of each row.
    pub state: Tensor<B, 4>,
}

/// Output of linear attention.
#[derive(Debug, Clone)]
pub struct Attended<B: Backend> {
    /// `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// Final state, `[batch, heads, key_dim, value_dim]`.
    pub state: Tensor<B, 4>,
}

/// Hand-written forward and backward pass as one node of the graph. The output holds the final states after the
/// tokens, with heads before tokens: `[batch, heads, seq + key_dim, value_dim]`.
#[derive(Debug, Clone, Copy)]
#[allow(
    clippy::type_complexity,
    reason = "each type is named once, where it is documented"
)]
pub struct ByHand<B: Backend> {
    /// [`Ops::linear_attention`].
    pub forward: fn(LinearAttention<B>, LinearAttentionOptions, &AttentionMask<B>) -> Tensor<B, 4>,
    /// Gradients of the six inputs from that of the output.
    pub backward: fn(
        LinearAttention<B>,
        LinearAttentionOptions,
        &AttentionMask<B>,
        Tensor<B, 4>,
    ) -> LinearAttention<B>,
}

impl<B: Backend> ByHand<B> {
    /// The chunked form in burn's operations.
    pub(crate) fn in_chunks() -> Self {
        Self {
            forward: chunked::forward,
            backward: chunked::backward,
        }
    }
}

impl<B: Backend> LinearAttention<B> {
    /// Tokens `run` of row `item`, with the initial state for the first document and zeros for later ones.
    fn document(&self, item: usize, run: &Range<usize>) -> Self {
        let (start, len) = (run.start, run.len());
        let of = |tensor: &Tensor<B, 4>| tensor.clone().narrow(0, item, 1).narrow(1, start, len);
        let gate = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, item, 1).narrow(1, start, len);
        let state = self.state.clone().narrow(0, item, 1);
        Self {
            query: of(&self.query),
            key: of(&self.key),
            value: of(&self.value),
            log_decay: gate(&self.log_decay),
            write: gate(&self.write),
            state: match start {
                0 => state,
                _ => state.zeros_like(),
            },
        }
    }

    /// Concatenates the tokens of several parts along a dimension, with the given state.
    fn join(parts: &[Self], dim: usize, state: Tensor<B, 4>) -> Self {
        let of = |part: fn(&Self) -> &Tensor<B, 4>| {
            Tensor::cat(parts.iter().map(part).cloned().collect(), dim)
        };
        let gate = |part: fn(&Self) -> &Tensor<B, 3>| {
            Tensor::cat(parts.iter().map(part).cloned().collect(), dim)
        };
        Self {
            query: of(|part| &part.query),
            key: of(|part| &part.key),
            value: of(|part| &part.value),
            log_decay: gate(|part| &part.log_decay),
            write: gate(|part| &part.write),
            state,
        }
    }
}

/// Splits a packed output, `[batch, heads, seq + key_dim, value_dim]`, into outputs and final states.
pub(crate) fn unpack<B: Ops>(packed: Tensor<B, 4>, seq: usize) -> Attended<B> {
    let [_, _, rows, _] = packed.dims();
    Attended {
        output: B::swap_heads(packed.clone().narrow(2, 0, seq)),
        state: packed.narrow(2, seq, rows - seq),
    }
}
