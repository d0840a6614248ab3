//! The past of a [`GatedLinear`](super::GatedLinear) layer: as large after a million tokens as after one.

use crate::model::cache::{Past, bytes};
use burn::tensor::Tensor;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{LinearAttention, LinearAttentionOptions};

/// The state of one layer, and how to get back into its last extension.
#[derive(Debug, Clone, Default)]
pub struct RecurrentCache<B: Ops> {
    pub(super) len: usize,
    /// None before the first position.
    pub(super) now: Option<Moment<B>>,
    pub(super) last: Option<Reversible<B>>,
}

/// What is known after some position.
#[derive(Debug, Clone)]
pub(super) struct Moment<B: Ops> {
    /// `[batch, heads, key_dim, value_dim]`.
    pub(super) state: Tensor<B, 4>,
    /// Last inputs of the convolutions of queries, keys and values, `[batch, taps - 1, channels]`.
    pub(super) tails: [Tensor<B, 3>; 3],
}

/// A short extension: what it began with and what it was given.
#[derive(Debug, Clone)]
pub(super) struct Reversible<B: Ops> {
    pub(super) start: usize,
    /// None: nothing was there.
    pub(super) before: Option<Moment<B>>,
    /// The convolutions' inputs with their tails before them.
    pub(super) padded: [Tensor<B, 3>; 3],
    pub(super) input: LinearAttention<B>,
    pub(super) options: LinearAttentionOptions,
}

impl<B: Ops> RecurrentCache<B> {
    /// The state, `[batch, heads, key_dim, value_dim]`; none before the first position.
    pub fn state(&self) -> Option<&Tensor<B, 4>> {
        self.now.as_ref().map(|now| &now.state)
    }
}

impl<B: Ops> Reversible<B> {
    fn first(input: &LinearAttention<B>, count: usize) -> LinearAttention<B> {
        let of = |tensor: &Tensor<B, 4>| tensor.clone().narrow(1, 0, count);
        let gate = |tensor: &Tensor<B, 3>| tensor.clone().narrow(1, 0, count);
        LinearAttention {
            query: of(&input.query),
            key: of(&input.key),
            value: of(&input.value),
            log_decay: gate(&input.log_decay),
            write: gate(&input.write),
            state: input.state.clone(),
        }
    }

    fn replay(&self, count: usize) -> Moment<B> {
        let input = Self::first(&self.input, count);
        let attended = B::linear_attention(input, self.options, &AttentionMask::Causal);
        let [_, new, _, _] = self.input.key.dims();
        Moment {
            state: attended.state,
            tails: self.padded.clone().map(|padded| {
                let [_, rows, _] = padded.dims();
                padded.narrow(1, count, rows - new)
            }),
        }
    }

    fn shortened(self, count: usize) -> Self {
        let [_, new, _, _] = self.input.key.dims();
        Self {
            padded: self.padded.map(|padded| {
                let [_, rows, _] = padded.dims();
                padded.narrow(1, 0, rows + count - new)
            }),
            input: Self::first(&self.input, count),
            ..self
        }
    }
}

impl<B: Ops> Past for RecurrentCache<B> {
    fn len(&self) -> usize {
        self.len
    }

    fn earliest(&self) -> usize {
        self.last.as_ref().map_or(self.len, |last| last.start)
    }

    /// Forgets all positions from `len` on.
    ///
    /// The state before the last extension is kept with what the extension was given, if it was of no more
    /// than [`REVERSIBLE`](crate::model::cache::REVERSIBLE) positions; those that stay are read again.
    ///
    /// # Panics
    ///
    /// If `len` is none of 0, [`earliest`](Past::earliest) and the positions since.
    fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if len == 0 {
            *self = Self {
                len: 0,
                now: None,
                last: None,
            };
            return;
        }
        let earliest = self.earliest();
        let Some(last) = self.last.take().filter(|last| last.start <= len) else {
            panic!(
                "a recurrent state of {} positions cannot go back to {len}, only to {earliest} or to 0",
                self.len
            );
        };
        let kept = len - last.start;
        self.now = match kept {
            0 => last.before.clone(),
            _ => Some(last.replay(kept)),
        };
        self.len = len;
        self.last = (kept > 0).then(|| last.shortened(kept));
    }

    fn memory_bytes(&self) -> usize {
        self.now.as_ref().map_or(0, |now| {
            let tails: usize = now.tails.iter().map(bytes).sum();
            bytes(&now.state) + tails
        })
    }
}
