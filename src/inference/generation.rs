//! Prefill and decode of one sequence with the latent cache.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;

use super::sampling::Sampler;
use crate::domain::Domain;
use crate::model::cache::Cache;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::{Route, Router};
use crate::model::{CausalLm, ModelConfig, Sequences};
use burn::module::Module;

/// Prompts are read in pieces of at most this many tokens, so that memory stays bounded.
const PREFILL_CHUNK: usize = 512;

/// What a sequence may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest context of the model, prompt and generated tokens together.
    pub context: usize,
    /// Number of token ids.
    pub vocab_size: usize,
}

impl Limits {
    /// Those of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            context: config.max_position_embeddings,
            vocab_size: config.vocab_size,
        }
    }
}

/// A prompt that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// Too many tokens.
    #[error(
        "the prompt has {tokens} tokens, with {past} before it, but the model's context is {context}: shorten it"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens before it.
        past: usize,
        /// The model's context.
        context: usize,
    },
    /// No token at all.
    #[error("the prompt is empty: give at least one token")]
    Empty,
    /// An id that the model does not have.
    #[error(
        "token id {id} is out of range, expected below {vocab_size}: the tokenizer is of another model"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of ids.
        vocab_size: usize,
    },
}

/// One growing sequence: what was read, what was generated, and the cache of both.
#[derive(Debug)]
pub struct Generation<'m, B: Ops, M: TokenMixer<B> = Mixer<B>, R: Module<B> = Router<B>> {
    model: &'m CausalLm<B, M, R>,
    cache: Cache<B, M>,
    limits: Limits,
    domain: Option<Domain>,
    past: Vec<u32>,
    logits: Vec<f32>,
}

impl<'m, B: Ops, M: TokenMixer<B>, R: Route<B>> Generation<'m, B, M, R> {
    /// An empty sequence, of a domain or of none.
    pub fn new(model: &'m CausalLm<B, M, R>, limits: Limits, domain: Option<Domain>) -> Self {
        Self {
            model,
            cache: model.empty_cache(),
            limits,
            domain,
            past: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// Everything read and generated so far.
    pub fn past(&self) -> &[u32] {
        &self.past
    }

    /// Logits of the next token; empty before the first [`read`](Self::read).
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Whether the context is full.
    pub fn is_full(&self) -> bool {
        self.past.len() >= self.limits.context
    }

    /// Reads tokens, as if they had been generated.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]; the sequence is as before.
    pub fn read(&mut self, ids: &[u32]) -> Result<(), GenerationError> {
        if ids.is_empty() {
            return Err(GenerationError::Empty);
        }
        if self.past.len() + ids.len() > self.limits.context {
            return Err(GenerationError::TooLong {
                tokens: ids.len(),
                past: self.past.len(),
                context: self.limits.context,
            });
        }
        let vocab_size = self.limits.vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(GenerationError::UnknownId { id, vocab_size });
        }
        for chunk in ids.chunks(PREFILL_CHUNK) {
            self.extend(chunk);
        }
        Ok(())
    }

    /// Chooses the next token and reads it. None once the context is full.
    ///
    /// # Panics
    ///
    /// Before the first [`read`](Self::read).
    pub fn next_token(&mut self, sampler: &mut Sampler) -> Option<u32> {
        let id = self.propose(sampler);
        (!self.is_full()).then(|| {
            self.extend(&[id]);
            id
        })
    }

    /// Chooses the next token and leaves it unread.
    ///
    /// # Panics
    ///
    /// Before the first [`read`](Self::read).
    pub fn propose(&self, sampler: &mut Sampler) -> u32 {
        assert!(!self.logits.is_empty(), "no token was read yet");
        sampler.choose(&self.logits, &self.past)
    }

    fn extend(&mut self, ids: &[u32]) {
        let device = self.model.embed_tokens.device();
        let begin = self.past.len() as i64;
        let len = ids.len();
        let row: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let tags = self.domain.map(|domain| {
            let tags = vec![domain.index() as i32; len];
            Tensor::<B, 1, Int>::from_data(TensorData::new(tags, [len]), &device)
        });
        let input = Sequences {
            ids: Tensor::from_data(TensorData::new(row, [1, len]), &device),
            positions: Tensor::<B, 1, Int>::arange(begin..begin + len as i64, &device)
                .reshape([1, len]),
            mask: AttentionMask::Causal,
            tags,
        };
        let states = self.model.extend(&input, &mut self.cache).states;
        let logits = self.model.logits(states.narrow(1, len - 1, 1)).into_data();
        self.logits = logits.iter::<f32>().collect();
        self.past.extend_from_slice(ids);
    }
}
