//! Continuous batching: requests join and leave between passes, and every pass serves all that are there
//! (Orca, <https://www.usenix.org/conference/osdi22/presentation/yu>).
//!
//! What a request gets does not depend on its neighbours: its prompt is read in pieces that its own
//! positions set, its tokens are drawn by its own seed, and on burn-flex every row of a pass is computed in
//! the same order whatever the batch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use burn::module::Module;
use darkhorse_backends::Ops;

use super::drafter::Drafter;
use super::limits::{GenerationError, Limits, PREFILL_CHUNK};
use super::pass::advance;
use super::prefix::Prefixes;
use super::routes::{Recording, RouteLog};
use super::sampling::{Sampler, SamplingConfig};
use super::sequence::Sequence;
use super::speculation::{Acceptance, Speculation};
use super::turn::Turn;
use crate::domain::Domain;
use crate::model::cache::CacheConfig;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::{Route, Router};
use crate::model::{CausalLm, NotFinite};

/// How an [`Engine`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences in one pass at most; further requests wait.
    pub max_sequences: usize,
    /// Prompts are read in pieces that end at multiples of so many tokens.
    pub prefill_chunk: usize,
    /// Prompt tokens of one pass at most, but one piece at least: what a pass keeps the others waiting.
    pub prefill_tokens: usize,
    /// How the caches lie in memory.
    pub cache: CacheConfig,
    /// Tokens of earlier prompts whose past is kept for requests that begin alike; 0: none.
    pub shared_prefix_tokens: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 64,
            prefill_chunk: PREFILL_CHUNK,
            prefill_tokens: PREFILL_CHUNK,
            cache: CacheConfig::default(),
            shared_prefix_tokens: 16 * 1024,
        }
    }
}

/// A prompt, and how it is to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Token ids to continue.
    pub prompt: Vec<u32>,
    /// Domain whose experts are preferred.
    pub domain: Option<Domain>,
    /// How tokens are chosen.
    pub sampling: SamplingConfig,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Ids that end the text; they are not given out.
    pub stop_ids: Vec<u32>,
    /// Whether to draft.
    pub speculation: Option<Speculation>,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Whether its routes are recorded.
    pub routes: Recording,
}

impl Request {
    /// Continues `prompt` by up to `max_tokens` tokens, always the likeliest.
    pub fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            prompt,
            domain: None,
            sampling: SamplingConfig::greedy(),
            max_tokens,
            stop_ids: Vec::new(),
            speculation: None,
            deadline: None,
            routes: Recording::Off,
        }
    }
}

/// A request's number, never given twice by an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Its next token.
    Token {
        /// Whose.
        request: RequestId,
        /// The token.
        id: u32,
    },
    /// It has ended, and its memory was given back.
    Finished {
        /// Which.
        request: RequestId,
        /// Why.
        why: Finish,
        /// What became of its drafts, if it had any.
        acceptance: Option<Acceptance>,
        /// Where the tokens went that it has read, if that was to be recorded.
        routes: Option<RouteLog>,
    },
}

/// Why a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    /// It came to one of its stop ids.
    Stop,
    /// It has all the tokens that it asked for.
    Length,
    /// The model's context is full.
    Context,
    /// Its deadline has passed.
    TimedOut,
    /// The model's logits are not finite.
    NotFinite(NotFinite),
}

/// A model that serves many requests at once.
#[derive(Debug)]
pub struct Engine<'m, B: Ops, M: TokenMixer<B> = Mixer<B>, R: Module<B> = Router<B>> {
    model: &'m CausalLm<B, M, R>,
    limits: Limits,
    config: EngineConfig,
    waiting: VecDeque<(RequestId, Request)>,
    running: BTreeMap<RequestId, Running<B, M>>,
    prefixes: Prefixes<B, M>,
    next: u64,
}

/// A request that has begun.
#[derive(Debug)]
struct Running<B: Ops, M: TokenMixer<B>> {
    request: Request,
    sampler: Sampler,
    sequence: Sequence<B, M>,
    /// How many ids were read or given out.
    given: usize,
    /// Tokens of this pass.
    reads: usize,
}

impl<'m, B: Ops, M: TokenMixer<B>, R: Route<B>> Engine<'m, B, M, R> {
    /// An engine without requests.
    pub fn new(model: &'m CausalLm<B, M, R>, limits: Limits, config: EngineConfig) -> Self {
        Self {
            model,
            limits,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            prefixes: Prefixes::new(config.shared_prefix_tokens, config.prefill_chunk),
            next: 0,
            config,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]: a prompt that the model cannot read, a setting out of range, or speculation
    /// on a model that has nothing to draft with.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, GenerationError> {
        self.limits.check(0, &request.prompt)?;
        request.sampling.validate()?;
        if request.speculation.is_some() && self.model.mtp.is_empty() {
            return Err(GenerationError::NoDrafter);
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.waiting.push_back((id, request));
        Ok(id)
    }

    /// Ends a request and gives its memory back. False if it has ended already.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let waiting = self.waiting.len();
        self.waiting.retain(|(id, _)| *id != request);
        self.running.remove(&request).is_some() || self.waiting.len() < waiting
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that are in the batch, and those that wait to be.
    pub fn load(&self) -> [usize; 2] {
        [self.running.len(), self.waiting.len()]
    }

    /// Memory of the caches in the batch, in bytes; shared pages count once for each that holds them.
    pub fn cache_bytes(&self) -> usize {
        let running = self.running.values();
        running.map(|r| r.sequence.cache.memory_bytes()).sum()
    }

    /// One pass for all that are there, and what came of it.
    pub fn step(&mut self) -> Vec<Event> {
        let mut events = self.expire();
        self.admit();
        self.plan();
        let context = self.limits.context;
        let mut turns: Vec<Turn<'_, B, M>> = self
            .running
            .values_mut()
            .filter(|running| running.reads > 0)
            .map(|running| Turn {
                read: running.reads,
                sequence: &mut running.sequence,
                sampler: Some(&running.sampler),
                context,
            })
            .collect();
        if turns.is_empty() {
            return events;
        }
        let chosen = advance(self.model, &mut turns);
        let had_turns = self.running.iter().filter(|(_, running)| running.reads > 0);
        let failed = had_turns.zip(chosen).filter_map(|((&id, _), chosen)| {
            let error = chosen.err()?;
            Some((id, Finish::NotFinite(error)))
        });
        for (id, why) in failed.collect::<Vec<_>>() {
            events.extend(self.finish(id, why));
        }
        let mut ended = Vec::new();
        for (&id, running) in &mut self.running {
            if running.sequence.cache.len() <= running.request.prompt.len() {
                let (ids, cache) = (&running.request.prompt, &running.sequence.cache);
                if cache.len() == ids.len() {
                    self.prefixes.keep(ids, running.request.domain, cache);
                }
            }
            let why = running.give(id, context, &mut events);
            ended.extend(why.map(|why| (id, why)));
        }
        for (id, why) in ended {
            events.extend(self.finish(id, why));
        }
        events
    }

    fn finish(&mut self, request: RequestId, why: Finish) -> Option<Event> {
        let ended = self.running.remove(&request)?;
        let Sequence {
            drafter, routes, ..
        } = ended.sequence;
        Some(Event::Finished {
            request,
            why,
            acceptance: drafter.map(|drafter| drafter.acceptance),
            routes,
        })
    }

    /// Ends what has waited for too long.
    fn expire(&mut self) -> Vec<Event> {
        let now = Instant::now();
        let late = |request: &Request| request.deadline.is_some_and(|deadline| deadline <= now);
        let running = self.running.iter();
        let ended: Vec<RequestId> = running
            .filter(|(_, running)| late(&running.request))
            .map(|(&id, _)| id)
            .collect();
        let mut events = Vec::new();
        for id in ended {
            events.extend(self.finish(id, Finish::TimedOut));
        }
        self.waiting.retain(|(id, request)| {
            let late = late(request);
            if late {
                events.push(Event::Finished {
                    request: *id,
                    why: Finish::TimedOut,
                    acceptance: None,
                    routes: None,
                });
            }
            !late
        });
        events
    }

    /// Lets waiting requests begin while there is room.
    fn admit(&mut self) {
        while self.running.len() < self.config.max_sequences
            && let Some((id, request)) = self.waiting.pop_front()
        {
            let shared = self.prefixes.find(&request.prompt, request.domain);
            let cache = shared.unwrap_or_else(|| self.model.empty_cache(&self.config.cache));
            let mut sequence = Sequence::new(cache, request.domain);
            sequence.ids.extend(&request.prompt);
            sequence.record(request.routes);
            sequence.drafter = request
                .speculation
                .and_then(|how| Drafter::new(self.model, how, &self.config.cache));
            let running = Running {
                sampler: Sampler::new(request.sampling.clone()).expect("it was validated"),
                given: request.prompt.len(),
                reads: 0,
                sequence,
                request,
            };
            self.running.insert(id, running);
        }
    }

    /// Says what each request reads in this pass: its newest token, or a piece of its prompt, first come
    /// first served.
    fn plan(&mut self) {
        let chunk = self.config.prefill_chunk;
        let mut left = self.config.prefill_tokens.max(1);
        for running in self.running.values_mut() {
            let read = running.sequence.cache.len();
            running.reads = match running.sequence.unread() {
                1 => 1,
                _ if left == 0 => 0,
                unread => {
                    let piece = unread.min(chunk - read % chunk);
                    left = left.saturating_sub(piece);
                    piece
                }
            };
        }
    }
}

impl<B: Ops, M: TokenMixer<B>> Running<B, M> {
    /// Gives out what was chosen, and says why the request has ended, if it has.
    fn give(
        &mut self,
        request: RequestId,
        context: usize,
        events: &mut Vec<Event>,
    ) -> Option<Finish> {
        let chosen = &self.sequence.ids[self.given..];
        for &id in chosen {
            if self.request.stop_ids.contains(&id) {
                return Some(Finish::Stop);
            }
            let generated = self.given - self.request.prompt.len();
            if generated >= self.request.max_tokens {
                return Some(Finish::Length);
            }
            events.push(Event::Token { request, id });
            self.given += 1;
        }
        let generated = self.given - self.request.prompt.len();
        let read = self.sequence.cache.len() >= self.request.prompt.len();
        match read {
            true if generated >= self.request.max_tokens => Some(Finish::Length),
            true if self.given >= context => Some(Finish::Context),
            _ => None,
        }
    }
}
