//! Continuous batching: requests join and leave between passes, and every pass serves all active requests (Orca,
//! <https://www.usenix.org/conference/osdi22/presentation/yu>).
//!
//! The output of a request does not depend on the others: its prompt is split at fixed positions of its own, its
//! tokens are drawn with its own seed, and on burn-flex every row of a pass is computed in the same order for any
//! batch.

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

/// Configuration of an [`Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Maximum number of sequences in the batch; further requests wait.
    pub max_sequences: usize,
    /// Prompts are read in pieces that end at multiples of this many tokens.
    pub prefill_chunk: usize,
    /// Number of prompt tokens in a pass after which no further piece is started. It bounds how long a pass delays the
    /// other requests.
    pub prefill_tokens: usize,
    /// Memory layout of the caches.
    pub cache: CacheConfig,
    /// Maximum number of tokens of earlier prompts whose caches are kept for requests with a common prefix; 0: none.
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

/// A prompt, and how to continue it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Token ids to continue.
    pub prompt: Vec<u32>,
    /// Domain of the text, for a model with domains.
    pub domain: Option<Domain>,
    /// How tokens are sampled.
    pub sampling: SamplingConfig,
    /// Maximum number of tokens to generate.
    pub max_tokens: usize,
    /// Ids that end the text; they are not returned.
    pub stop_ids: Vec<u32>,
    /// Speculative decoding; absent: off.
    pub speculation: Option<Speculation>,
    /// Time at which the request is aborted.
    pub deadline: Option<Instant>,
    /// Whether the routes of its tokens are recorded.
    pub routes: Recording,
}

impl Request {
    /// Continues `prompt` by up to `max_tokens` tokens, always the most likely one.
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

/// Number of a request, unique within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// Progress of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It has a new token.
    Token {
        /// The request.
        request: RequestId,
        /// The token.
        id: u32,
    },
    /// It has ended, and its memory is freed.
    Finished {
        /// The request.
        request: RequestId,
        /// The reason.
        why: Finish,
        /// Statistics of its drafts, if it used speculation.
        acceptance: Option<Acceptance>,
        /// Routes of the tokens that it has read, if they are recorded.
        routes: Option<RouteLog>,
    },
}

/// Why a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finish {
    /// It generated one of its stop ids.
    Stop,
    /// It generated its maximum number of tokens.
    Length,
    /// The model's context is full.
    Context,
    /// Its deadline has passed.
    TimedOut,
    /// The model's logits are not finite.
    NotFinite(NotFinite),
}

/// Serves many requests with one model at once.
///
/// ```
/// use darkhorse_genesis::backends::select::{Selected, default_device};
/// use darkhorse_genesis::config::Experiment;
/// use darkhorse_genesis::inference::{Engine, EngineConfig, Event, Limits, Request};
/// use darkhorse_genesis::model::CausalLm;
///
/// let config = Experiment::preset("mixtral-tiny")?.model;
/// let model = CausalLm::<Selected>::init(&config, 0, &default_device());
/// let mut engine = Engine::new(&model, Limits::of(&config), EngineConfig::default());
/// let short = engine.submit(Request::greedy(vec![5, 3, 9], 2))?;
/// let long = engine.submit(Request::greedy(vec![2, 7], 4))?;
/// let mut finished = Vec::new();
/// while !engine.is_idle() {
///     for event in engine.step() {
///         match event {
///             Event::Token { request, id } => println!("{request:?}: {id}"),
///             Event::Finished { request, .. } => finished.push(request),
///         }
///     }
/// }
/// assert_eq!(finished, [short, long]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// A request in the batch.
#[derive(Debug)]
struct Running<B: Ops, M: TokenMixer<B>> {
    request: Request,
    sampler: Sampler,
    sequence: Sequence<B, M>,
    /// Number of ids that were read or returned.
    given: usize,
    /// Number of tokens to read in the current pass.
    reads: usize,
}

impl<'m, B: Ops, M: TokenMixer<B>, R: Route<B>> Engine<'m, B, M, R> {
    /// Creates an engine without requests.
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

    /// Queues a request.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]: the prompt cannot be read, a sampling setting is out of range, or speculation is
    /// requested for a model without multi-token prediction modules.
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

    /// Ends a request and frees its memory. Returns false if it has ended already.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let waiting = self.waiting.len();
        self.waiting.retain(|(id, _)| *id != request);
        self.running.remove(&request).is_some() || self.waiting.len() < waiting
    }

    /// Whether there are no requests.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Number of requests in the batch, and number of waiting requests.
    pub fn load(&self) -> [usize; 2] {
        [self.running.len(), self.waiting.len()]
    }

    /// Memory of the caches in the batch, in bytes. Shared pages count in every cache that holds them.
    pub fn cache_bytes(&self) -> usize {
        let running = self.running.values();
        running.map(|r| r.sequence.cache.memory_bytes()).sum()
    }

    /// Runs one pass for all requests in the batch and returns its events.
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

    /// Ends requests whose deadline has passed.
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

    /// Moves waiting requests to the batch while there is room.
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

    /// Sets what each request reads in this pass: its newest token, or a piece of its prompt, in order of arrival.
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
    /// Emits the chosen tokens; returns the reason if the request has ended.
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
