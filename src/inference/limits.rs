//! Limits of a sequence.

use crate::model::ModelConfig;

/// Prompts are read in pieces that end at multiples of this many tokens. This bounds memory and the delay of other
/// sequences. Longer pieces are not faster on the CPU.
pub const PREFILL_CHUNK: usize = 256;

/// Limits of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum length in tokens, prompt and generated tokens together.
    pub context: usize,
    /// Number of token ids in the vocabulary.
    pub vocab_size: usize,
}

impl Limits {
    /// Limits of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            context: config.max_position_embeddings,
            vocab_size: config.vocab_size,
        }
    }

    /// Checks that a sequence of `past` tokens can be continued by `ids`.
    ///
    /// # Errors
    ///
    /// [`GenerationError`]: no ids, too many, or one outside the vocabulary.
    pub fn check(&self, past: usize, ids: &[u32]) -> Result<(), GenerationError> {
        if ids.is_empty() {
            return Err(GenerationError::Empty);
        }
        if past + ids.len() > self.context {
            return Err(GenerationError::TooLong {
                tokens: ids.len(),
                past,
                context: self.context,
            });
        }
        let vocab_size = self.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(GenerationError::UnknownId { id, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Why a prompt cannot be read or continued.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerationError {
    /// The prompt exceeds the context.
    #[error(
        "the prompt has {tokens} tokens, with {past} before it, but the model's context is {context}: shorten it"
    )]
    TooLong {
        /// Number of tokens in the prompt.
        tokens: usize,
        /// Number of tokens before it.
        past: usize,
        /// Context length of the model.
        context: usize,
    },
    /// The prompt has no tokens.
    #[error("the prompt is empty: give at least one token")]
    Empty,
    /// An id outside the vocabulary.
    #[error(
        "token id {id} is out of range, expected below {vocab_size}: the tokenizer is of another model"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of token ids in the vocabulary.
        vocab_size: usize,
    },
    /// The largest cache that the sequence can have exceeds the memory of all caches.
    #[error(
        "a sequence of {tokens} tokens needs {} MiB of cache, but all caches together have {} MiB: shorten the prompt or generate fewer tokens",
        bytes >> 20,
        limit_bytes >> 20
    )]
    NoMemory {
        /// Largest length of the sequence.
        tokens: usize,
        /// Memory of its cache.
        bytes: u64,
        /// Memory of all caches.
        limit_bytes: u64,
    },
    /// Speculation without multi-token prediction modules.
    #[error(
        "the model has no multi-token prediction modules to draft with: leave speculation out, or train with `num_nextn_predict_layers` of 1 or more"
    )]
    NoDrafter,
    /// The logits are not finite.
    #[error(transparent)]
    NotFinite(#[from] crate::model::NotFinite),
    /// A sampling setting is out of range.
    #[error(transparent)]
    Sampling(#[from] super::SamplingError),
}
