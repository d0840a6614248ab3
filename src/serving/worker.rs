//! The thread that owns the model: it runs the engine as long as there are requests, and sleeps otherwise.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};
use std::time::Instant;

use darkhorse_backends::{Ops, awake};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::energy::Meter;
use super::grammar::Grammar;
use super::loads::Loads;
use super::metrics::{Metrics, Sequence};
use super::output::{Output, Piece};
use crate::inference::{
    Acceptance, Engine, EngineConfig, Event, Finish, Limits, Request, RequestId, RouteLog,
    TokenScore,
};
use crate::model::CausalLm;
use crate::telemetry::energy::Spent;

/// One sequence to generate.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) output: Output,
    /// Grammar of its text.
    pub(super) grammar: Option<Grammar>,
    /// Number of the sequence within its HTTP request.
    pub(super) index: usize,
    /// Where its progress goes. A closed channel ends it.
    pub(super) updates: UnboundedSender<(usize, Update)>,
    pub(super) arrived: Instant,
    /// Its place among the sequences that may run or wait.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Progress of a sequence.
#[derive(Debug)]
pub(super) enum Update {
    /// Scores of the prompt's tokens from the second on.
    Prompt(Vec<TokenScore>),
    /// More text.
    Piece(Piece),
    /// The end.
    Ended(Box<Ended>),
    /// The model failed.
    Failed(String),
}

/// How a sequence ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reason: Reason,
    /// The stop string that has ended it.
    pub(super) stop: Option<String>,
    /// Number of generated tokens, the one that ended the text included.
    pub(super) generated: usize,
    /// Number of prompt tokens that an earlier prompt shares.
    pub(super) shared: usize,
    pub(super) acceptance: Option<Acceptance>,
    /// Its energy; absent without a meter, or if a part of it could not be measured.
    pub(super) spent: Option<Spent>,
    /// All tokens that were read, and their routes, if these are recorded.
    pub(super) routes: Option<(Vec<u32>, RouteLog)>,
}

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// By a stop string, or by a token that ends texts.
    Stop,
    /// By the number of its tokens.
    Length,
}

impl Reason {
    /// Its name in answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A sequence that was handed to the engine.
#[derive(Debug)]
struct Entry {
    output: Output,
    index: usize,
    updates: UnboundedSender<(usize, Update)>,
    prompt: Vec<u32>,
    generated: Vec<u32>,
    shared: usize,
    records: bool,
    is_stopped: bool,
    times: Sequence,
    /// Its place, until it has ended.
    permit: Option<OwnedSemaphorePermit>,
}

/// Where the worker tells what it does.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    pub(super) metrics: Arc<Metrics>,
    pub(super) loads: Arc<Loads>,
    pub(super) meter: Option<Arc<Meter>>,
}

/// Runs jobs until their channel is closed and all have ended.
pub(super) fn work<B: Ops>(
    model: &CausalLm<B>,
    limits: Limits,
    config: EngineConfig,
    jobs: &mut Receiver<Job>,
    reports: Reports,
) where
    CausalLm<B>: Sync,
{
    let mut worker = Worker {
        engine: Engine::new(model, limits, config),
        entries: HashMap::new(),
        reports,
        memory_bytes: config.memory.map(|memory| memory.limit_bytes),
    };
    while let Ok(job) = jobs.recv() {
        if let Some(meter) = &worker.reports.meter {
            meter.begin();
        }
        worker.accept(job);
        let busy = awake(|| worker.run(jobs));
        if let Some(meter) = &worker.reports.meter {
            meter.rest();
        }
        // without requests there is nothing to report but that
        worker.report();
        if busy.is_err() {
            return;
        }
    }
}

struct Worker<'m, B: Ops> {
    engine: Engine<'m, B>,
    entries: HashMap<RequestId, Entry>,
    reports: Reports,
    memory_bytes: Option<u64>,
}

impl<B: Ops> Worker<'_, B> {
    /// Runs passes while there are requests. An error means that there will be no more jobs.
    fn run(&mut self, jobs: &mut Receiver<Job>) -> Result<(), RecvError> {
        let mut open = Ok(());
        while !self.engine.is_idle() {
            loop {
                match jobs.try_recv() {
                    Ok(job) => self.accept(job),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = Err(RecvError);
                        break;
                    }
                }
            }
            self.drop_abandoned();
            let events = self.engine.step();
            if let Some(meter) = &self.reports.meter {
                meter.step(self.engine.shares());
            }
            // who has an answer finds it counted
            self.report();
            for event in events {
                self.handle(event);
            }
        }
        open
    }

    fn accept(&mut self, job: Job) {
        let Job {
            request,
            output,
            grammar,
            index,
            updates,
            arrived,
            permit,
        } = job;
        let prompt = request.prompt.clone();
        let records = request.routes != crate::inference::Recording::Off;
        let submitted = match grammar {
            Some(grammar) => self.engine.submit_constrained(request, Box::new(grammar)),
            None => self.engine.submit(request),
        };
        match submitted {
            Ok(id) => {
                let entry = Entry {
                    times: Sequence::new(arrived, prompt.len()),
                    output,
                    index,
                    updates,
                    prompt,
                    generated: Vec::new(),
                    shared: 0,
                    records,
                    is_stopped: false,
                    permit: Some(permit),
                };
                self.entries.insert(id, entry);
            }
            Err(error) => {
                drop(permit);
                // a client that has gone needs no answer
                let _ = updates.send((index, Update::Failed(error.to_string())));
            }
        }
    }

    /// Ends sequences whose client has gone.
    fn drop_abandoned(&mut self) {
        let engine = &mut self.engine;
        let Reports { metrics, meter, .. } = &self.reports;
        self.entries.retain(|&id, entry| {
            let is_abandoned = entry.updates.is_closed();
            if is_abandoned {
                engine.cancel(id);
                // its energy stays in the totals
                meter.as_ref().map(|meter| meter.take(id));
                metrics.aborted();
            }
            !is_abandoned
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Started { request, shared } => {
                if let Some(entry) = self.entries.get_mut(&request) {
                    entry.shared = shared;
                    entry.times.started(shared, &self.reports.metrics);
                }
            }
            Event::Prompt { request, scores } => {
                if let Some(entry) = self.entries.get_mut(&request) {
                    entry.send(Update::Prompt(scores));
                }
            }
            Event::Token { request, id, score } => {
                let Some(entry) = self.entries.get_mut(&request) else {
                    return;
                };
                // a pass with drafts may give tokens after a stop string
                if entry.is_stopped {
                    return;
                }
                entry.times.token(&self.reports.metrics);
                entry.generated.push(id);
                let (piece, stopped) = entry.output.push(id, score);
                entry.is_stopped = stopped;
                if let Some(piece) = piece {
                    entry.send(Update::Piece(piece));
                }
                if stopped && let Some(event) = self.engine.stop(request) {
                    self.handle(event);
                }
            }
            Event::Finished {
                request,
                why,
                stop,
                acceptance,
                routes,
            } => {
                let meter = self.reports.meter.as_ref();
                let spent = meter.and_then(|meter| meter.take(request));
                if let Some(entry) = self.entries.remove(&request) {
                    let end = End {
                        why,
                        stop,
                        acceptance,
                        routes,
                        spent,
                    };
                    entry.end(end, &self.reports.metrics);
                }
            }
        }
    }

    fn report(&self) {
        let [running, waiting] = self.engine.load();
        let used = self.engine.cache_bytes() as u64;
        let Reports { metrics, loads, .. } = &self.reports;
        metrics.pass(running, waiting, used, self.memory_bytes);
        let generated = metrics.generated();
        loads.set(Instant::now(), self.engine.traffic(), generated);
    }
}

/// What is known of a sequence at its end.
struct End {
    why: Finish,
    stop: Option<TokenScore>,
    acceptance: Option<Acceptance>,
    routes: Option<RouteLog>,
    spent: Option<Spent>,
}

impl Entry {
    fn send(&self, update: Update) {
        // a client that has gone is found before the next pass
        let _ = self.updates.send((self.index, update));
    }

    fn end(mut self, end: End, metrics: &Metrics) {
        let End {
            why,
            stop,
            acceptance,
            routes,
            spent,
        } = end;
        // who has an answer finds a place for the next request
        self.permit.take();
        let reason = match why {
            _ if self.is_stopped => Reason::Stop,
            Finish::Stop | Finish::Stopped | Finish::Complete => Reason::Stop,
            Finish::Length | Finish::Context => Reason::Length,
            Finish::TimedOut => return self.send(Update::Failed("the request timed out".into())),
            Finish::NotFinite(error) => return self.send(Update::Failed(error.to_string())),
            Finish::Constraint(error) => return self.send(Update::Failed(error.to_string())),
        };
        let ended_by_token = why == Finish::Stop && !self.is_stopped;
        let generated = self.generated.len() + usize::from(ended_by_token);
        if let Some(stop) = stop.filter(|_| ended_by_token) {
            self.output.note(stop.id, Some(stop));
        }
        if !self.is_stopped {
            let piece = self.output.finish();
            self.send(Update::Piece(piece));
        }
        let ids = [&self.prompt[..], &self.generated].concat();
        let routes = routes.filter(|_| self.records).map(|mut routes| {
            // beyond these, a token was read only if a draft had guessed it
            let unread = usize::from(!ended_by_token && !self.generated.is_empty());
            routes.truncate(ids.len() - unread);
            (ids, routes)
        });
        self.times
            .ended(reason, generated, acceptance.as_ref(), metrics);
        self.send(Update::Ended(Box::new(Ended {
            reason,
            stop: self.output.ended_by().map(str::to_owned),
            generated,
            shared: self.shared,
            acceptance,
            spent,
            routes,
        })));
    }
}
