//! The past of a [`Gla`](super::Gla) layer: as large after a million tokens as after one.

use crate::model::cache::{Past, bytes};
use burn::tensor::Tensor;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Given, LinearAttention, LinearAttentionOptions, Moment,
};

/// The state of one layer, and how to get back into its last extension.
#[derive(Debug, Clone, Default)]
pub struct GlaCache<B: Ops> {
    pub(super) len: usize,
    /// None before the first position.
    pub(super) now: Option<Moment<B>>,
    pub(super) last: Option<Reversible<B>>,
}

/// A short extension: what it began with and what it was given.
#[derive(Debug, Clone)]
pub(super) struct Reversible<B: Ops> {
    pub(super) start: usize,
    /// Number of positions.
    pub(super) new: usize,
    /// None: nothing was there.
    pub(super) before: Option<Moment<B>>,
    /// Absent for a single position, of which there is no part.
    pub(super) given: Option<Given<B>>,
    pub(super) options: LinearAttentionOptions,
}

impl<B: Ops> GlaCache<B> {
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
        let given = self.given.as_ref();
        let given = given.expect("several positions leave what they were given");
        let input = Self::first(&given.input, count);
        let attended = B::linear_attention(input, self.options, &AttentionMask::Causal);
        Moment {
            state: attended.state,
            tails: given.padded.clone().map(|padded| {
                let [_, rows, _] = padded.dims();
                padded.narrow(1, count, rows - self.new)
            }),
        }
    }

    fn shortened(self, count: usize) -> Self {
        let given = self.given.map(|given| Given {
            padded: given.padded.map(|padded| {
                let [_, rows, _] = padded.dims();
                padded.narrow(1, 0, rows + count - self.new)
            }),
            input: Self::first(&given.input, count),
        });
        Self {
            new: count,
            given,
            ..self
        }
    }
}

impl<B: Ops> Reversible<B> {
    /// The state among what was given is the one before.
    fn memory_bytes(&self) -> usize {
        let before = self.before.as_ref().map_or(0, moment_bytes);
        let given = self.given.as_ref().map_or(0, |given| {
            let input = &given.input;
            let heads = [&input.query, &input.key, &input.value].map(bytes);
            let gates = [&input.log_decay, &input.write].map(bytes);
            let padded = given.padded.iter().map(bytes);
            heads.into_iter().chain(gates).chain(padded).sum()
        });
        before + given
    }
}

impl<B: Ops> Past for GlaCache<B> {
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
        let now = self.now.as_ref().map_or(0, moment_bytes);
        now + self.last.as_ref().map_or(0, Reversible::memory_bytes)
    }
}

fn moment_bytes<B: Ops>(moment: &Moment<B>) -> usize {
    bytes(&moment.state) + moment.tails.iter().map(bytes).sum::<usize>()
}
