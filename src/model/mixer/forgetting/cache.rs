//! The past of a [`Forgetting`](super::Forgetting) layer.

use crate::model::cache::{Past, REVERSIBLE, bytes};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Keys, values and gates of every position, and the last inputs of the convolutions.
#[derive(Debug, Clone, Default)]
pub struct ForgettingCache<B: Backend> {
    pub(super) seen: Option<Seen<B>>,
}

/// What positions leave behind for later ones.
#[derive(Debug, Clone)]
pub(super) struct Seen<B: Backend> {
    /// `[batch, seq, key_heads, head_dim]`.
    pub(super) key: Tensor<B, 4>,
    /// `[batch, seq, heads, head_dim]`.
    pub(super) value: Tensor<B, 4>,
    /// Sums of the logarithms of the gates, `[batch, seq, heads]`.
    pub(super) kept: Tensor<B, 3>,
    /// Inputs of the convolution of keys, zeros before the first, of the last positions,
    /// `[batch, rows, _]`.
    pub(super) raw_key: Tensor<B, 3>,
    /// The same for values.
    pub(super) raw_value: Tensor<B, 3>,
}

impl<B: Backend> Seen<B> {
    /// The inputs that convolutions of `taps` need next.
    pub(super) fn tails(&self, taps: usize) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let last = |raw: &Tensor<B, 3>| {
            let [_, rows, _] = raw.dims();
            raw.clone().narrow(1, rows + 1 - taps, taps - 1)
        };
        (last(&self.raw_key), last(&self.raw_value))
    }

    /// With the positions after it, whose convolution inputs begin with the `taps - 1` before them.
    pub(super) fn followed_by(self, new: Self, taps: usize) -> Self {
        let joined = |old: Tensor<B, 3>, new: Tensor<B, 3>| {
            let [_, rows, _] = new.dims();
            Tensor::cat(vec![old, new.narrow(1, taps - 1, rows + 1 - taps)], 1)
        };
        Self {
            key: Tensor::cat(vec![self.key, new.key], 1),
            value: Tensor::cat(vec![self.value, new.value], 1),
            kept: Tensor::cat(vec![self.kept, new.kept], 1),
            raw_key: joined(self.raw_key, new.raw_key),
            raw_value: joined(self.raw_value, new.raw_value),
        }
    }

    /// Without convolution inputs that nobody will ask for.
    pub(super) fn lightened(self, taps: usize) -> Self {
        let last = |raw: Tensor<B, 3>| {
            let [_, rows, _] = raw.dims();
            let kept = rows.min(REVERSIBLE + taps - 1);
            raw.narrow(1, rows - kept, kept)
        };
        Self {
            raw_key: last(self.raw_key),
            raw_value: last(self.raw_value),
            ..self
        }
    }
}

impl<B: Backend> Past for ForgettingCache<B> {
    fn len(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.kept.dims()[1])
    }

    fn earliest(&self) -> usize {
        self.len().saturating_sub(REVERSIBLE)
    }

    /// Forgets all positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor one of the last [`REVERSIBLE`] positions, whose convolution inputs are kept.
    fn truncate(&mut self, len: usize) {
        let (now, earliest) = (self.len(), self.earliest());
        if len >= now {
            return;
        }
        if len == 0 {
            self.seen = None;
            return;
        }
        assert!(
            len >= earliest,
            "a past of {now} positions cannot go back to {len}, only to {earliest} or to 0"
        );
        let fewer = |raw: Tensor<B, 3>| {
            let [_, rows, _] = raw.dims();
            raw.narrow(1, 0, rows + len - now)
        };
        self.seen = self.seen.take().map(|seen| Seen {
            key: seen.key.narrow(1, 0, len),
            value: seen.value.narrow(1, 0, len),
            kept: seen.kept.narrow(1, 0, len),
            raw_key: fewer(seen.raw_key),
            raw_value: fewer(seen.raw_value),
        });
    }

    fn memory_bytes(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| {
            bytes(&seen.key) + bytes(&seen.value) + bytes(&seen.kept)
        })
    }
}
