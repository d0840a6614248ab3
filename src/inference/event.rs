//! What is asked of an [`Engine`](super::Engine), and what it answers.

use std::time::Instant;

use super::constraint::ConstraintError;
use super::routes::{Recording, RouteLog};
use super::sampling::SamplingConfig;
use super::scores::{Scoring, TokenScore};
use super::speculation::{Acceptance, Speculation};
use crate::domain::Domain;
use crate::model::NotFinite;

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
    /// Log-probabilities to report; absent: none.
    pub scoring: Option<Scoring>,
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
            scoring: None,
        }
    }

    /// Largest length that its sequence can have in a model with this context.
    pub fn longest(&self, context: usize) -> usize {
        self.prompt
            .len()
            .saturating_add(self.max_tokens)
            .min(context)
    }

    /// Whether it must read its whole prompt itself, and so shares no cache of an earlier one.
    pub(super) fn reads_all(&self) -> bool {
        self.routes == Recording::Whole || self.scoring.is_some_and(|scoring| scoring.prompt)
    }
}

/// Number of a request, unique within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// Progress of a request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It has joined the batch.
    Started {
        /// The request.
        request: RequestId,
        /// Number of its first tokens that an earlier prompt shares, which are not read again.
        shared: usize,
    },
    /// Its prompt is read and scored.
    Prompt {
        /// The request.
        request: RequestId,
        /// Scores of the prompt's tokens from the second on.
        scores: Vec<TokenScore>,
    },
    /// It has a new token.
    Token {
        /// The request.
        request: RequestId,
        /// The token.
        id: u32,
        /// Its log-probability, if it was asked for.
        score: Option<TokenScore>,
    },
    /// It has ended, and its memory is freed.
    Finished {
        /// The request.
        request: RequestId,
        /// The reason.
        why: Finish,
        /// The stop id and its log-probability, if the latter was asked for.
        stop: Option<TokenScore>,
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
    /// Its text is complete by the [rule](super::Constraint) that it follows.
    Complete,
    /// The rule that it follows cannot be evaluated.
    Constraint(ConstraintError),
    /// Its deadline has passed.
    TimedOut,
    /// It was [stopped](super::Engine::stop) from outside.
    Stopped,
    /// The model's logits are not finite.
    NotFinite(NotFinite),
}
