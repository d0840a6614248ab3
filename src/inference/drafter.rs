//! Drafting state of a sequence: what its multi-token prediction modules have read.

use burn::module::Module;
use burn::tensor::Tensor;
use darkhorse_backends::Ops;

use super::listener::{Listener, Read};
use super::pace::Pace;
use super::speculation::{Acceptance, Speculation};
use crate::model::CausalLm;
use crate::model::cache::CacheConfig;
use crate::model::mixer::TokenMixer;

/// Drafting state of a sequence.
#[derive(Debug)]
pub(super) struct Drafter<B: Ops, M: TokenMixer<B>> {
    pub(super) modules: Vec<Listener<B, M>>,
    pub(super) speculation: Speculation,
    pub(super) pace: Pace,
    /// Whether drafting ran for the current pass, even if no draft was likely enough.
    pub(super) tried: bool,
    pub(super) acceptance: Acceptance,
}

impl<B: Ops, M: TokenMixer<B>> Drafter<B, M> {
    /// Creates a drafter that has read nothing; `None` if the model has no MTP modules.
    pub(super) fn new<R: Module<B>>(
        model: &CausalLm<B, M, R>,
        speculation: Speculation,
        config: &CacheConfig,
    ) -> Option<Self> {
        let caches = model
            .mtp
            .iter()
            .map(|it| it.block.mixer.empty_cache(config));
        let modules: Vec<_> = caches.map(Listener::new).collect();
        (!modules.is_empty()).then(|| Self {
            modules,
            speculation,
            pace: Pace::default(),
            tried: false,
            acceptance: Acceptance::default(),
        })
    }

    /// Adds the model's states of the positions from `first` on.
    pub(super) fn hear(&mut self, first: usize, states: Tensor<B, 3>) {
        self.modules[0].hear(first, states);
    }

    /// Drops the ids from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        for (module, listener) in self.modules.iter_mut().enumerate() {
            listener.truncate(len, module + 1);
        }
    }

    /// State of the modules before they draft up to `deepest` tokens.
    pub(super) fn remember(&self, deepest: usize) -> Vec<Read<M::Cache>> {
        // the first token takes no guess, and the last module also guesses for depths without a module
        let guesses = (deepest + 1).saturating_sub(self.modules.len().max(2));
        let listeners = self.modules.iter();
        listeners.map(|it| it.remember(guesses)).collect()
    }

    pub(super) fn forget_guesses(&mut self, read: Vec<Read<M::Cache>>) {
        for (listener, read) in self.modules.iter_mut().zip(read) {
            listener.forget_guesses(read);
        }
    }

    /// Records a pass over one id: its number of drafts, its number of chosen ids, and its time.
    pub(super) fn record(&mut self, drafts: usize, chosen: usize, seconds: f64) {
        self.pace.record(self.tried, chosen, seconds);
        self.acceptance.record(drafts, chosen);
    }
}
