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

use super::constraint::{Constrained, Constraint};
use super::drafter::Drafter;
use super::event::{Event, Finish, Request, RequestId};
use super::limits::{GenerationError, Limits, PREFILL_CHUNK};
use super::memory::CacheMemory;
use super::pass::advance;
use super::prefix::Prefixes;
use super::routes::Recording;
use super::sampling::Sampler;
use super::scores::{Scores, TokenScore};
use super::sequence::Sequence;
use super::share::{Phase, Share};
use super::traffic::Traffic;
use super::turn::Turn;
use crate::model::CausalLm;
use crate::model::cache::CacheConfig;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::{Route, Router};

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
    /// Bound on the memory of the caches in the batch, without that of earlier prompts; absent: none.
    pub memory: Option<CacheMemory>,
    /// Whether the visits of all experts are counted.
    pub routes: Recording,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 64,
            prefill_chunk: PREFILL_CHUNK,
            prefill_tokens: PREFILL_CHUNK,
            cache: CacheConfig::default(),
            shared_prefix_tokens: 16 * 1024,
            memory: None,
            routes: Recording::Off,
        }
    }
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
///             Event::Token { request, id, .. } => println!("{request:?}: {id}"),
///             Event::Finished { request, .. } => finished.push(request),
///             _ => {}
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
    waiting: VecDeque<Waiting>,
    running: BTreeMap<RequestId, Running<B, M>>,
    prefixes: Prefixes<B, M>,
    traffic: Traffic,
    /// Tokens of the newest pass.
    shares: Vec<Share>,
    next: u64,
}

/// A request that is not in the batch yet.
#[derive(Debug)]
struct Waiting {
    id: RequestId,
    request: Request,
    constraint: Option<Box<dyn Constraint>>,
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
    /// Most memory that its cache can take, in bytes; 0 without a bound.
    reserved_bytes: u64,
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
            traffic: Traffic::default(),
            shares: Vec::new(),
            next: 0,
            config,
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]: the prompt cannot be read, a sampling setting is out of range, speculation is requested
    /// for a model without multi-token prediction modules, or the cache would not fit even alone.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, GenerationError> {
        self.queue(request, None)
    }

    /// Queues a request whose text follows a rule. It ends with [`Finish::Complete`] when the rule allows no more
    /// tokens. Drafts that the rule forbids are rejected.
    ///
    /// # Errors
    ///
    /// Those of [`Self::submit`].
    pub fn submit_constrained(
        &mut self,
        request: Request,
        constraint: Box<dyn Constraint>,
    ) -> Result<RequestId, GenerationError> {
        self.queue(request, Some(constraint))
    }

    fn queue(
        &mut self,
        request: Request,
        constraint: Option<Box<dyn Constraint>>,
    ) -> Result<RequestId, GenerationError> {
        self.limits.check(0, &request.prompt)?;
        request.sampling.validate()?;
        if request.speculation.is_some() && self.model.mtp.is_empty() {
            return Err(GenerationError::NoDrafter);
        }
        if let Some(memory) = &self.config.memory {
            let longest = request.longest(self.limits.context);
            memory.check(longest, request.speculation.is_some())?;
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting {
            id,
            request,
            constraint,
        });
        Ok(id)
    }

    /// Ends a request and frees its memory. Returns false if it has ended already.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        let waiting = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != request);
        self.running.remove(&request).is_some() || self.waiting.len() < waiting
    }

    /// Ends a request in the batch where it stands, and returns its [`Event::Finished`]. `None` if it is not in the
    /// batch.
    pub fn stop(&mut self, request: RequestId) -> Option<Event> {
        self.finish(request, Finish::Stopped)
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

    /// Counts of what was computed since the engine began.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Tokens that the newest [`step`](Self::step) has computed for each request; empty if it ran no pass.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Runs one pass for all requests in the batch and returns its events.
    pub fn step(&mut self) -> Vec<Event> {
        self.shares.clear();
        let mut events = self.expire();
        self.admit(&mut events);
        self.plan();
        let phases = self.running.iter().filter(|(_, it)| it.reads > 0);
        let phases: Vec<_> = phases.map(|(&id, it)| (id, it.phase())).collect();
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
        let passed = advance(self.model, &mut turns, self.config.routes);
        self.traffic.add(&passed.routes, &passed.kept);
        let shares = phases.into_iter().zip(&passed.computed);
        self.shares
            .extend(shares.map(|((request, phase), &tokens)| Share {
                request,
                phase,
                tokens,
            }));
        let had_turns = self.running.iter().filter(|(_, running)| running.reads > 0);
        let failed = had_turns
            .zip(passed.chosen)
            .filter_map(|((&id, _), chosen)| {
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
        let stop = ended.stop_score(&why);
        let Sequence {
            drafter, routes, ..
        } = ended.sequence;
        Some(Event::Finished {
            request,
            why,
            stop,
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
        self.waiting.retain(|waiting| {
            let late = late(&waiting.request);
            if late {
                events.push(Event::Finished {
                    request: waiting.id,
                    why: Finish::TimedOut,
                    stop: None,
                    acceptance: None,
                    routes: None,
                });
            }
            !late
        });
        events
    }

    /// Moves waiting requests to the batch while there is room, in order of arrival.
    fn admit(&mut self, events: &mut Vec<Event>) {
        let mut reserved: u64 = self.running.values().map(|it| it.reserved_bytes).sum();
        while self.running.len() < self.config.max_sequences
            && let Some(next) = self.waiting.pop_front()
        {
            let reserved_bytes = self.config.memory.map_or(0, |memory| {
                let longest = next.request.longest(self.limits.context);
                memory.of_sequence(longest, next.request.speculation.is_some())
            });
            let limit = self.config.memory.map_or(u64::MAX, |it| it.limit_bytes);
            if reserved.saturating_add(reserved_bytes) > limit {
                self.waiting.push_front(next);
                return;
            }
            reserved += reserved_bytes;
            let id = next.id;
            let running = self.start(next, reserved_bytes);
            let shared = running.sequence.cache.len();
            events.push(Event::Started {
                request: id,
                shared,
            });
            self.running.insert(id, running);
        }
    }

    fn start(&mut self, waiting: Waiting, reserved_bytes: u64) -> Running<B, M> {
        let Waiting {
            request,
            constraint,
            ..
        } = waiting;
        let shared = if request.reads_all() {
            None
        } else {
            self.prefixes.find(&request.prompt, request.domain)
        };
        let cache = shared.unwrap_or_else(|| self.model.empty_cache(&self.config.cache));
        let mut sequence = Sequence::new(cache, request.domain);
        sequence.ids.extend(&request.prompt);
        sequence.record(request.routes);
        sequence.scores = request.scoring.map(Scores::new);
        sequence.constraint = constraint.map(Constrained::new);
        sequence.drafter = request
            .speculation
            .and_then(|how| Drafter::new(self.model, how, &self.config.cache));
        Running {
            sampler: Sampler::new(request.sampling.clone()).expect("it was validated"),
            given: request.prompt.len(),
            reads: 0,
            reserved_bytes,
            sequence,
            request,
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
    /// Phase of the tokens that it reads next.
    fn phase(&self) -> Phase {
        if self.sequence.cache.len() < self.request.prompt.len() {
            Phase::Prefill
        } else {
            Phase::Decode
        }
    }

    /// Emits the chosen tokens; returns the reason if the request has ended.
    fn give(
        &mut self,
        request: RequestId,
        context: usize,
        events: &mut Vec<Event>,
    ) -> Option<Finish> {
        let prompt = self.request.prompt.len();
        let read = self.sequence.cache.len() >= prompt;
        if read
            && let Some(scores) = &mut self.sequence.scores
            && scores.scoring.prompt
            && !scores.prompt_is_given
        {
            scores.prompt_is_given = true;
            let scores = std::mem::take(&mut scores.prompt);
            events.push(Event::Prompt { request, scores });
        }
        for &id in &self.sequence.ids[self.given..] {
            // a token beyond the last one was drawn, but it ends nothing
            let generated = self.given - prompt;
            if generated >= self.request.max_tokens {
                return Some(Finish::Length);
            }
            if self.request.stop_ids.contains(&id) {
                return Some(Finish::Stop);
            }
            let score = self.sequence.scores.as_ref();
            let score = score.and_then(|scores| scores.chosen.get(generated).cloned());
            events.push(Event::Token { request, id, score });
            self.given += 1;
        }
        let generated = self.given - prompt;
        let constraint = self.sequence.constraint.as_ref();
        if let Some(end) = constraint.and_then(|it| it.end.clone()) {
            Some(end.map_or_else(Finish::Constraint, |()| Finish::Complete))
        } else if read && generated >= self.request.max_tokens {
            Some(Finish::Length)
        } else if read && self.given >= context {
            Some(Finish::Context)
        } else {
            None
        }
    }

    /// Score of the stop id that ended the request.
    fn stop_score(&self, why: &Finish) -> Option<TokenScore> {
        let scores = self.sequence.scores.as_ref()?;
        let generated = self.given - self.request.prompt.len();
        let stop = scores.chosen.get(generated).cloned();
        stop.filter(|_| *why == Finish::Stop)
    }
}
