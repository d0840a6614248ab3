//! Generation of one sequence: prefill and decoding.

use std::ops::ControlFlow;

use burn::module::Module;
use darkhorse_backends::Ops;

use super::drafter::Drafter;
use super::limits::{GenerationError, Limits, PREFILL_CHUNK};
use super::pass::{advance, read_anew};
use super::routes::{Recording, RouteLog};
use super::sampling::Sampler;
use super::sequence::Sequence;
use super::speculation::{Acceptance, Speculation};
use super::turn::Turn;
use crate::domain::Domain;
use crate::model::cache::CacheConfig;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::{Route, Router};
use crate::model::{CausalLm, NotFinite};

/// A growing sequence: its tokens and their cache.
#[derive(Debug)]
pub struct Generation<'m, B: Ops, M: TokenMixer<B> = Mixer<B>, R: Module<B> = Router<B>> {
    model: &'m CausalLm<B, M, R>,
    limits: Limits,
    cache: CacheConfig,
    sequence: Sequence<B, M>,
    /// Number of ids that were read or returned; later ones are chosen already.
    given: usize,
    reading: Reading,
}

/// How the ids are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Only new ids, with a cache of the earlier ones.
    Cached,
    /// The whole sequence, for every token.
    Anew,
}

impl<'m, B: Ops, M: TokenMixer<B>, R: Route<B>> Generation<'m, B, M, R> {
    /// Creates an empty sequence of the given domain.
    pub fn new(model: &'m CausalLm<B, M, R>, limits: Limits, domain: Option<Domain>) -> Self {
        Self::with_cache(model, limits, domain, CacheConfig::default())
    }

    /// Creates an empty sequence with the given cache layout.
    pub fn with_cache(
        model: &'m CausalLm<B, M, R>,
        limits: Limits,
        domain: Option<Domain>,
        cache: CacheConfig,
    ) -> Self {
        Self {
            model,
            limits,
            cache,
            sequence: Sequence::new(model.empty_cache(&cache), domain),
            given: 0,
            reading: Reading::Cached,
        }
    }

    /// Reads the whole sequence anew for every token. This applies parts of the model that need whole sequences,
    /// such as test-time training; the time per token grows with the sequence.
    pub fn reading_anew(mut self) -> Self {
        self.reading = Reading::Anew;
        self
    }

    /// Turns on speculative decoding. Drafts change the speed, not the text.
    ///
    /// # Errors
    ///
    /// [`GenerationError::NoDrafter`] if the model has no multi-token prediction modules.
    pub fn speculating(mut self, speculation: Speculation) -> Result<Self, GenerationError> {
        let drafter = Drafter::new(self.model, speculation, &self.cache);
        self.sequence.drafter = Some(drafter.ok_or(GenerationError::NoDrafter)?);
        Ok(self)
    }

    /// Records the routes of the tokens that are read from now on.
    pub fn recording_routes(mut self) -> Self {
        self.sequence.record(Recording::On);
        self
    }

    /// Routes of the tokens that were read, if they are recorded. The newest token is not read yet, and accepted
    /// drafts may be read before they are returned.
    pub fn routes(&self) -> Option<&RouteLog> {
        self.sequence.routes.as_ref()
    }

    /// All tokens that were read or returned.
    pub fn past(&self) -> &[u32] {
        &self.sequence.ids[..self.given]
    }

    /// Logits from which the newest token was chosen; after [`read`](Self::read), those of the next token.
    pub fn logits(&self) -> &[f32] {
        &self.sequence.logits
    }

    /// Whether the context is full.
    pub fn is_full(&self) -> bool {
        self.given >= self.limits.context
    }

    /// Statistics of the drafts; `None` without speculation.
    pub fn acceptance(&self) -> Option<&Acceptance> {
        let drafter = self.sequence.drafter.as_ref();
        drafter.map(|drafter| &drafter.acceptance)
    }

    /// Memory of the cache, in bytes.
    pub fn cache_bytes(&self) -> usize {
        self.sequence.cache.memory_bytes()
    }

    /// Appends tokens and reads them.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]. The sequence is unchanged, unless the logits are not finite.
    pub fn read(&mut self, ids: &[u32]) -> Result<(), GenerationError> {
        let read = self.read_with(ids, |_| ControlFlow::Continue(()));
        read.map(drop)
    }

    /// [`read`](Self::read) that reports, after every piece, how many of the tokens were read. A break drops the
    /// other tokens; then more must be read before the next token is chosen.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]. The sequence is unchanged, unless the logits are not finite.
    pub fn read_with(
        &mut self,
        ids: &[u32],
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, GenerationError> {
        self.limits.check(self.given, ids)?;
        self.sequence.truncate(self.given);
        self.sequence.ids.extend_from_slice(ids);
        let begin = self.given;
        self.given += ids.len();
        if self.reading == Reading::Anew {
            self.pass(None)?;
            return Ok(progress(ids.len()));
        }
        while self.sequence.unread() > 0 {
            self.pass(None)?;
            let read = self.sequence.cache.len();
            if progress(read.saturating_sub(begin)).is_break() {
                self.sequence.truncate(read);
                self.given = read;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Drops the tokens from `len` on; at least one must remain. Returns false, without changes, if a mixer cannot
    /// go back that far.
    pub fn truncate(&mut self, len: usize) -> bool {
        let reachable =
            len > 0 && len.min(self.sequence.cache.len()) >= self.sequence.cache.earliest();
        if reachable {
            self.sequence.truncate(len);
            self.given = self.given.min(len);
        }
        reachable
    }

    /// Chooses the next token; `None` if the context is full.
    ///
    /// # Errors
    ///
    /// [`GenerationError::NotFinite`]; the sequence cannot be continued.
    ///
    /// # Panics
    ///
    /// Before the first [`read`](Self::read).
    pub fn next_token(&mut self, sampler: &Sampler) -> Result<Option<u32>, GenerationError> {
        assert!(self.given > 0, "no token was read yet");
        if self.is_full() {
            return Ok(None);
        }
        if self.given == self.sequence.ids.len() {
            match self.sequence.unread() {
                0 => {
                    let id = sampler.choose(&self.sequence.logits, &self.sequence.ids);
                    self.sequence.ids.push(id);
                }
                _ => self.pass(Some(sampler))?,
            }
        }
        self.given += 1;
        Ok(Some(self.sequence.ids[self.given - 1]))
    }

    fn pass(&mut self, sampler: Option<&Sampler>) -> Result<(), NotFinite> {
        if self.reading == Reading::Anew {
            return read_anew(self.model, &mut self.sequence, sampler);
        }
        let read = self.sequence.cache.len();
        let turn = Turn {
            read: self
                .sequence
                .unread()
                .min(PREFILL_CHUNK - read % PREFILL_CHUNK),
            sequence: &mut self.sequence,
            sampler,
            context: self.limits.context,
        };
        let chosen = advance(self.model, &mut [turn], Recording::Off).chosen;
        chosen.into_iter().try_for_each(|it| it.map(drop))
    }
}
