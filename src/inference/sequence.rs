//! A growing sequence: its ids, and the cache of those that were read.

use darkhorse_backends::Ops;

use super::constraint::Constrained;
use super::drafter::Drafter;
use super::routes::{Recording, RouteLog};
use super::scores::Scores;
use crate::domain::Domain;
use crate::model::cache::Cache;
use crate::model::mixer::{Mixer, TokenMixer};

/// Read and unread ids, with the cache of the read ones.
#[derive(Debug)]
pub(super) struct Sequence<B: Ops, M: TokenMixer<B> = Mixer<B>> {
    pub(super) ids: Vec<u32>,
    /// Cache of the first `cache.len()` ids.
    pub(super) cache: Cache<B, M>,
    pub(super) domain: Option<Domain>,
    /// Logits of the token after the last id, once all ids are read.
    pub(super) logits: Vec<f32>,
    pub(super) drafter: Option<Drafter<B, M>>,
    /// Routes of the ids that this sequence has read, if they are recorded.
    pub(super) routes: Option<RouteLog>,
    /// Log-probabilities of its tokens, if they are reported.
    pub(super) scores: Option<Scores>,
    /// Rule for the tokens to choose.
    pub(super) constraint: Option<Constrained>,
}

impl<B: Ops, M: TokenMixer<B>> Sequence<B, M> {
    /// Creates an empty sequence of the given domain.
    pub(super) fn new(cache: Cache<B, M>, domain: Option<Domain>) -> Self {
        Self {
            ids: Vec::new(),
            cache,
            domain,
            logits: Vec::new(),
            drafter: None,
            routes: None,
            scores: None,
            constraint: None,
        }
    }

    /// Starts or stops recording routes.
    pub(super) fn record(&mut self, recording: Recording) {
        self.routes = match recording {
            Recording::On | Recording::Whole => Some(RouteLog::new(self.cache.len())),
            Recording::Off => None,
        };
    }

    /// Number of unread ids.
    pub(super) fn unread(&self) -> usize {
        self.ids.len() - self.cache.len()
    }

    /// Drops the ids from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.ids.len() {
            self.ids.truncate(len);
            self.cache.truncate(len);
            if let Some(drafter) = &mut self.drafter {
                drafter.truncate(len);
            }
            if let Some(routes) = &mut self.routes {
                routes.truncate(len);
            }
        }
    }
}
