//! Reading state of one multi-token prediction module in a sequence.

use burn::tensor::Tensor;
use darkhorse_backends::Ops;

use crate::model::cache::Past;
use crate::model::mixer::TokenMixer;

/// Reading state of one module in a sequence.
#[derive(Debug)]
pub(super) struct Listener<B: Ops, M: TokenMixer<B>> {
    pub(super) past: M::Cache,
    /// Position after those in `past`.
    pub(super) next: usize,
    /// States that wait to be read, from position `next` on, `[1, waiting, hidden_size]`.
    waiting: Option<Tensor<B, 3>>,
}

/// State of a module before it guesses.
pub(super) enum Read<C> {
    /// Its number of positions, if at most one guess must be taken back.
    Len(usize),
    /// A copy of its cache. It shares memory until it is written to, and then costs a page.
    Copy(C),
}

impl<B: Ops, M: TokenMixer<B>> Listener<B, M> {
    /// Creates the state of a module that has read nothing.
    pub(super) fn new(past: M::Cache) -> Self {
        Self {
            past,
            next: 0,
            waiting: None,
        }
    }

    /// Adds the states from position `first` on. Positions that were never added are gaps, which only lower the
    /// quality of drafts.
    pub(super) fn hear(&mut self, first: usize, states: Tensor<B, 3>) {
        self.waiting = Some(match self.waiting.take() {
            Some(before) => Tensor::cat(vec![before, states], 1),
            None => {
                self.next = first;
                states
            }
        });
    }

    /// Number of waiting states.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, |states| states.dims()[1])
    }

    /// Removes and returns the first `count` waiting states.
    pub(super) fn take(&mut self, count: usize) -> Tensor<B, 3> {
        let all = self.waiting.take().expect("they wait");
        let [_, waiting, _] = all.dims();
        if count < waiting {
            self.waiting = Some(all.clone().narrow(1, count, waiting - count));
        }
        all.narrow(1, 0, count)
    }

    /// Drops the ids from `len` on; the module has read ids up to `ahead` beyond its positions.
    pub(super) fn truncate(&mut self, len: usize, ahead: usize) {
        let kept = len.saturating_sub(ahead);
        if self.next > kept {
            let left = self.past.len().saturating_sub(self.next - kept);
            // a cache that cannot go back starts anew: drafts get worse for a while, the text does not change
            let reached = left >= self.past.earliest();
            self.past.truncate(if reached { left } else { 0 });
            self.next = kept;
            self.waiting = None;
        } else {
            let wanted = (len - self.next).min(self.waiting());
            self.waiting = (wanted > 0).then(|| self.take(wanted));
        }
    }

    /// State before the given number of guesses.
    pub(super) fn remember(&self, guesses: usize) -> Read<M::Cache> {
        match guesses {
            0 | 1 => Read::Len(self.past.len()),
            _ => Read::Copy(self.past.clone()),
        }
    }

    /// Restores the state before the guesses. Accepted ones are read again later.
    pub(super) fn forget_guesses(&mut self, read: Read<M::Cache>) {
        match read {
            Read::Len(len) => self.past.truncate(len),
            Read::Copy(past) => self.past = past,
        }
    }
}
