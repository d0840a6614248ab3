//! The way of sequences into the engine.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::error::ApiError;
use super::grammar::Grammar;
use super::options::Options;
use super::output::Output;
use super::state::{Ready, State};
use super::worker::{Job, Update};
use crate::inference::{Request, Scoring};
use crate::tokenizer::TextStream;

/// Updates of sequences, each with the number of its sequence.
pub(super) type Updates = UnboundedReceiver<(usize, Update)>;

/// Prompts with all that their sequences have in common.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) prompts: Vec<Vec<u32>>,
    /// Largest number of tokens to generate; absent: up to the end of the context.
    pub(super) max_tokens: Option<usize>,
    pub(super) stop_ids: Vec<u32>,
    /// A text that ends the answer besides those of the request.
    pub(super) stop_text: Option<&'static str>,
    pub(super) scoring: Option<Scoring>,
    pub(super) begins: Begins,
    /// Grammar of every answer, which ends it; absent: any text.
    pub(super) grammar: Option<Grammar>,
}

/// Relation of the generated text to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// The text continues the prompt.
    InThePrompt,
    /// The text begins anew.
    Anew,
}

impl Submission {
    /// Checks all sequences, finds room for them, and hands them to the engine. Sequence `p * answers + a` is answer
    /// `a` to prompt `p`.
    pub(super) fn submit(
        self,
        options: &Options,
        state: &State,
        ready: &Ready,
    ) -> Result<Updates, ApiError> {
        let mut requests = Vec::new();
        for prompt in &self.prompts {
            ready.limits.check(0, prompt)?;
            for answer in 0..options.answers {
                requests.push(self.request(prompt, answer, options, ready)?);
            }
        }
        let count = requests.len();
        if count > state.capacity() {
            return Err(ApiError::bad(format!(
                "the request asks for {count} answers, expected at most {}: send several requests",
                state.capacity()
            )));
        }
        let many = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(mut room) = state.room.clone().try_acquire_many_owned(many) else {
            state.metrics.refused();
            return Err(ApiError::queue_is_full(state.metrics.retry_after()));
        };
        let (updates, received) = unbounded_channel();
        let arrived = Instant::now();
        for (index, request) in requests.into_iter().enumerate() {
            let Some(permit) = room.split(1) else {
                return Err(ApiError::internal("there is no room for the sequences"));
            };
            let stream = self.stream(&request.prompt, ready);
            // what a grammar allows does not end its text
            let own = self.stop_text.filter(|_| self.grammar.is_none());
            let own = own.map(str::to_owned);
            let stops = options.stops.iter().cloned().chain(own).collect();
            let job = Job {
                output: Output::new(stream, stops),
                request,
                grammar: self.grammar.as_ref().map(Grammar::again),
                index,
                updates: updates.clone(),
                arrived,
                permit,
            };
            let sent = ready.jobs.send(job);
            sent.map_err(|_| ApiError::internal("the engine has ended"))?;
        }
        Ok(received)
    }

    fn request(
        &self,
        prompt: &[u32],
        answer: usize,
        options: &Options,
        ready: &Ready,
    ) -> Result<Request, ApiError> {
        let rest = ready.limits.context - prompt.len();
        let request = Request {
            prompt: prompt.to_vec(),
            domain: options.domain,
            sampling: options.sampling(answer),
            max_tokens: self.max_tokens.unwrap_or(rest).min(rest),
            stop_ids: if options.ignores_end && self.grammar.is_none() {
                Vec::new()
            } else {
                self.stop_ids.clone()
            },
            speculation: options.speculation,
            deadline: None,
            routes: options.routes,
            scoring: self.scoring,
        };
        if let Some(memory) = &ready.memory {
            let longest = request.longest(ready.limits.context);
            memory.check(longest, request.speculation.is_some())?;
        }
        Ok(request)
    }

    fn stream(&self, prompt: &[u32], ready: &Ready) -> TextStream {
        match self.begins {
            Begins::InThePrompt => ready.tokenizer.stream_after(prompt),
            Begins::Anew => ready.tokenizer.stream(),
        }
    }
}

/// Runs work that takes long, such as tokenizing a book, beside the connections.
pub(super) async fn beside<T: Send + 'static>(
    ready: &Arc<Ready>,
    work: impl FnOnce(&Ready) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let ready = ready.clone();
    let done = tokio::task::spawn_blocking(move || work(&ready)).await;
    done.unwrap_or_else(|_| Err(ApiError::internal("the request could not be read")))
}
