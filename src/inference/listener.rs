//! What one multi-token prediction module has read of a sequence, and what waits for it.

use burn::tensor::Tensor;
use darkhorse_backends::Ops;

use crate::model::cache::Past;
use crate::model::mixer::TokenMixer;

/// One module's reading of a sequence.
#[derive(Debug)]
pub(super) struct Listener<B: Ops, M: TokenMixer<B>> {
    pub(super) past: M::Cache,
    /// The position after those in `past`.
    pub(super) next: usize,
    /// States from that position on, `[1, waiting, hidden_size]`.
    waiting: Option<Tensor<B, 3>>,
}

/// What a module had read.
pub(super) enum Read<C> {
    /// So many positions: one guess can be taken back.
    Len(usize),
    /// All of this. A copy shares its memory until it is written to, and then costs a page.
    Copy(C),
}

impl<B: Ops, M: TokenMixer<B>> Listener<B, M> {
    /// One that has read nothing yet.
    pub(super) fn new(past: M::Cache) -> Self {
        Self {
            past,
            next: 0,
            waiting: None,
        }
    }

    /// Takes the states from position `first` on. Positions that were never heard are gaps, which cost
    /// nothing but the quality of drafts.
    pub(super) fn hear(&mut self, first: usize, states: Tensor<B, 3>) {
        self.waiting = Some(match self.waiting.take() {
            Some(before) => Tensor::cat(vec![before, states], 1),
            None => {
                self.next = first;
                states
            }
        });
    }

    /// How many states wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, |states| states.dims()[1])
    }

    /// The first `count` states, which no longer wait.
    pub(super) fn take(&mut self, count: usize) -> Tensor<B, 3> {
        let all = self.waiting.take().expect("they wait");
        let [_, waiting, _] = all.dims();
        if count < waiting {
            self.waiting = Some(all.clone().narrow(1, count, waiting - count));
        }
        all.narrow(1, 0, count)
    }

    /// Forgets the ids from `len` on; the module has read `ahead` of them beyond its positions.
    pub(super) fn truncate(&mut self, len: usize, ahead: usize) {
        let kept = len.saturating_sub(ahead);
        if self.next > kept {
            let left = self.past.len().saturating_sub(self.next - kept);
            // what cannot go back begins anew: drafts get worse for a while, the text does not change
            let reached = left >= self.past.earliest();
            self.past.truncate(if reached { left } else { 0 });
            self.next = kept;
            self.waiting = None;
        } else {
            let wanted = (len - self.next).min(self.waiting());
            self.waiting = (wanted > 0).then(|| self.take(wanted));
        }
    }

    /// What was read, before so many guesses.
    pub(super) fn remember(&self, guesses: usize) -> Read<M::Cache> {
        match guesses {
            0 | 1 => Read::Len(self.past.len()),
            _ => Read::Copy(self.past.clone()),
        }
    }

    /// Goes back to what was read: guesses are read again once they are known to be right.
    pub(super) fn forget_guesses(&mut self, read: Read<M::Cache>) {
        match read {
            Read::Len(len) => self.past.truncate(len),
            Read::Copy(past) => self.past = past,
        }
    }
}
