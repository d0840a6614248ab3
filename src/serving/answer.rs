//! Parts of answers that all endpoints share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::error::ApiError;
use super::options::Options;
use super::output::Piece;
use super::state::{Ready, State};
use super::submission::Updates;
use super::worker::{Ended, Update};
use crate::inference::{RequestRoutes, TokenScore};
use crate::telemetry::energy::Spent;

/// An answer that is being given.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) state: Arc<State>,
    pub(super) ready: Arc<Ready>,
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) options: Options,
    usage: Usage,
}

/// Numbers of tokens of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    pub(super) prompt: usize,
    /// Tokens of the prompt that an earlier one shares.
    pub(super) shared: usize,
    pub(super) generated: usize,
}

/// Numbers of tokens that are known when sequences end.
#[derive(Debug, Default)]
struct Usage {
    generated: usize,
    shared: usize,
    /// Number of sequences that have ended, and their energy; `None` if that of one is unknown.
    ended: usize,
    spent: Option<Spent>,
}

/// One complete sequence.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) prompt_scores: Vec<TokenScore>,
    pub(super) piece: Piece,
    pub(super) ended: Option<Ended>,
}

impl Answering {
    pub(super) fn new(
        prefix: &str,
        state: Arc<State>,
        ready: Arc<Ready>,
        prompts: Vec<Vec<u32>>,
        options: Options,
    ) -> Self {
        Self {
            id: format!("{prefix}{:032x}", rand::random::<u128>()),
            created: seconds_since_1970(),
            state,
            ready,
            prompts,
            options,
            usage: Usage {
                spent: Some(Spent::default()),
                ..Usage::default()
            },
        }
    }

    /// Number of sequences.
    pub(super) fn sequences(&self) -> usize {
        self.prompts.len() * self.options.answers
    }

    /// Waits for all sequences.
    pub(super) async fn collect(&mut self, mut updates: Updates) -> Result<Vec<Whole>, ApiError> {
        let mut all: Vec<Whole> = Vec::new();
        all.resize_with(self.sequences(), Whole::default);
        while let Some((index, update)) = updates.recv().await {
            let whole = &mut all[index];
            match update {
                Update::Prompt(scores) => whole.prompt_scores = scores,
                Update::Piece(piece) => {
                    whole.piece.text.push_str(&piece.text);
                    whole.piece.tokens.extend(piece.tokens);
                }
                Update::Ended(ended) => {
                    self.count(index, &ended);
                    whole.ended = Some(*ended);
                }
                Update::Failed(message) => return Err(ApiError::internal(message)),
            }
        }
        if all.iter().any(|whole| whole.ended.is_none()) {
            return Err(ApiError::internal("the engine has ended"));
        }
        Ok(all)
    }

    /// Counts the tokens of a sequence that has ended. Prompts count once, whatever the number of answers.
    pub(super) fn count(&mut self, index: usize, ended: &Ended) {
        self.usage.generated += ended.generated;
        self.usage.ended += 1;
        let sum = self.usage.spent.zip(ended.spent);
        self.usage.spent = sum.map(|(sum, more)| sum + more);
        if index.is_multiple_of(self.options.answers) {
            self.usage.shared += ended.shared;
        }
    }

    /// Numbers of tokens of all sequences that have ended.
    pub(super) fn tokens(&self) -> Tokens {
        Tokens {
            prompt: self.prompts.iter().map(Vec::len).sum(),
            shared: self.usage.shared,
            generated: self.usage.generated,
        }
    }

    /// Numbers of tokens as completions and chats tell them.
    pub(super) fn usage(&self) -> Value {
        let Tokens {
            prompt,
            shared,
            generated,
        } = self.tokens();
        let mut usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": shared},
        });
        if let Some(energy) = self.energy() {
            usage["energy"] = energy;
        }
        usage
    }

    /// Energy of all sequences, in joules; `None` if it is not known, or not yet.
    pub(super) fn energy(&self) -> Option<Value> {
        let meter = self.ready.meter.as_ref().ok()?;
        let all_ended = self.usage.ended == self.sequences();
        let spent = self.usage.spent.filter(|_| all_ended)?;
        Some(json!({
            "joules": spent.prefill_j + spent.decode_j,
            "prefill_joules": spent.prefill_j,
            "decode_joules": spent.decode_j,
            "extrapolated_joules": spent.extrapolated_j,
            "source": meter.source(),
        }))
    }

    /// Id of the trace of a sequence.
    fn trace_id(&self, index: usize) -> String {
        match index {
            0 => self.id.clone(),
            _ => format!("{}-{index}", self.id),
        }
    }

    /// Adds to a choice what is known when its sequence has ended: its routes, and what speculation did.
    pub(super) fn conclude(&self, choice: &mut Value, index: usize, ended: &Ended) {
        if let Some(trace) = self.trace(index, ended) {
            choice["trace"] = trace;
        }
        if let Some(acceptance) = &ended.acceptance {
            choice["speculation"] = json!({
                "drafted": acceptance.drafted,
                "accepted": acceptance.accepted,
                "passes_without_drafts": acceptance.plain,
            });
        }
    }

    /// The routes of a sequence, which are also kept for `/api/trace/{id}`. `None` if they were not asked for.
    fn trace(&self, index: usize, ended: &Ended) -> Option<Value> {
        let (ids, routes) = ended.routes.as_ref()?;
        let id = self.trace_id(index);
        let routes = RequestRoutes::new(&self.ready.model, ids, routes);
        let choices = routes.choices();
        let mut trace = json!({
            "id": id,
            "prompt_tokens": self.prompt_of(index).len(),
            "texts": self.texts(ids, index),
        });
        // an object of numbers always becomes JSON
        if let (Value::Object(all), Ok(Value::Object(routes))) =
            (&mut trace, serde_json::to_value(&routes))
        {
            all.extend(routes);
        }
        self.state.traces.keep(&id, choices, trace.clone());
        Some(trace)
    }

    /// Text that each token adds: a character of several tokens stands at its last one.
    fn texts(&self, ids: &[u32], index: usize) -> Vec<String> {
        let (prompt, generated) = ids.split_at(self.prompt_of(index).len().min(ids.len()));
        let tokenizer = &self.ready.tokenizer;
        let mut streams = [tokenizer.stream(), tokenizer.stream_after(prompt)];
        let [of_prompt, of_answer] = &mut streams;
        let prompt = prompt.iter().map(|&id| of_prompt.push(id));
        let texts: Vec<_> = prompt.collect();
        let generated = generated.iter().map(|&id| of_answer.push(id));
        let texts = texts.into_iter().chain(generated);
        texts.map(Option::unwrap_or_default).collect()
    }

    /// Prompt of a sequence.
    pub(super) fn prompt_of(&self, index: usize) -> &[u32] {
        &self.prompts[index / self.options.answers]
    }
}

pub(super) fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
