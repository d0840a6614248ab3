//! What a sequence may hold.

use crate::model::ModelConfig;

/// Prompts are read in pieces that end at multiples of so many tokens, so that memory stays bounded and
/// sequences beside the prompt wait little. Longer pieces are read no faster on the CPU.
pub const PREFILL_CHUNK: usize = 256;

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

    /// Whether a sequence of `past` tokens can be continued by `ids`.
    pub(super) fn check(&self, past: usize, ids: &[u32]) -> Result<(), GenerationError> {
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

/// A prompt that cannot be read or continued, or a way of reading that the model does not have.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// Nothing to draft with.
    #[error(
        "the model has no multi-token prediction modules to draft with: leave speculation out, or train with `num_nextn_predict_layers` of 1 or more"
    )]
    NoDrafter,
    /// Logits that nothing can be chosen by.
    #[error(transparent)]
    NotFinite(#[from] crate::model::NotFinite),
    /// A setting of the sampler.
    #[error(transparent)]
    Sampling(#[from] super::SamplingError),
}
