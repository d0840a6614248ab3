//! Cache of a [`Gla`](super::Gla) layer, whose size does not depend on the context length.

use crate::model::cache::{Past, bytes};
use burn::tensor::Tensor;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    Given, LinearAttention, LinearAttentionOptions, Moment,
};

/// State of one layer, with what is needed to take back its last extension.
#[derive(Debug, Clone, Default)]
pub struct GlaCache<B: Ops> {
    pub(super) len: usize,
    /// `None` before the first position.
    pub(super) now: Option<Moment<B>>,
    pub(super) last: Option<Reversible<B>>,
}

/// A short extension: the state before it and its inputs.
#[derive(Debug, Clone)]
pub(super) struct Reversible<B: Ops> {
    pub(super) start: usize,
    /// Number of positions.
    pub(super) new: usize,
    /// `None` if it began the sequence.
    pub(super) before: Option<Moment<B>>,
    /// Absent for a single position, which can only be taken back as a whole.
    pub(super) given: Option<Given<B>>,
    pub(super) options: LinearAttentionOptions,
}

impl<B: Ops> GlaCache<B> {
    /// The state, `[batch, heads, key_dim, value_dim]`; `None` before the first position.
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
    /// The initial state inside `given` is not counted: it is `before`.
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

    /// Drops all positions from `len` on.
    ///
    /// If the last extension had at most [`REVERSIBLE`](crate::model::cache::REVERSIBLE) positions, its inputs and
    /// the state before it are kept; the remaining ones are replayed.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor at least [`earliest`](Past::earliest).
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
