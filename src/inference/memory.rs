//! Memory that a sequence's cache can take, from the configuration alone.

use super::limits::GenerationError;
use crate::model::ModelConfig;
use crate::model::dtype::Dtype;

/// Bound on the memory of the caches of all running sequences. A sequence is admitted when the largest cache that it
/// can have fits beside those of the others, so a running sequence is never evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheMemory {
    /// Bytes that all running sequences may hold together.
    pub limit_bytes: u64,
    /// Bytes per position.
    token_bytes: u64,
    /// Bytes per position of the multi-token prediction modules, for a sequence with speculation.
    draft_token_bytes: u64,
    /// Bytes of a sequence that do not depend on its length.
    state_bytes: u64,
    /// Number of positions per page.
    page_len: usize,
}

impl CacheMemory {
    /// The bound for a model with pages of `page_len` positions, with a cache of type `cache` and activations of type
    /// `activations`.
    pub fn new(
        limit_bytes: u64,
        config: &ModelConfig,
        page_len: usize,
        cache: Dtype,
        activations: Dtype,
    ) -> Self {
        Self {
            limit_bytes,
            token_bytes: config.cache_bytes_per_token(cache),
            draft_token_bytes: config.draft_cache_bytes_per_token(cache),
            state_bytes: config.state_bytes(activations),
            page_len,
        }
    }

    /// Bytes that the cache of a sequence of `len` tokens takes at most.
    pub fn of_sequence(&self, len: usize, speculates: bool) -> u64 {
        let drafts = if speculates {
            self.draft_token_bytes
        } else {
            0
        };
        let positions = len.next_multiple_of(self.page_len) as u64;
        let pages = positions.saturating_mul(self.token_bytes.saturating_add(drafts));
        pages.saturating_add(self.state_bytes)
    }

    /// Number of tokens whose pages take `bytes`.
    pub fn tokens_in(&self, bytes: u64) -> usize {
        let tokens = bytes / self.token_bytes.max(1);
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }

    /// Refuses a sequence that does not fit even when it runs alone.
    ///
    /// # Errors
    ///
    /// [`GenerationError::NoMemory`].
    pub fn check(&self, len: usize, speculates: bool) -> Result<(), GenerationError> {
        let bytes = self.of_sequence(len, speculates);
        if bytes <= self.limit_bytes {
            return Ok(());
        }
        Err(GenerationError::NoMemory {
            tokens: len,
            bytes,
            limit_bytes: self.limit_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_pages_count_and_drafts_only_where_they_are_made() {
        let config = json!({
            "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
            "max_position_embeddings": 64, "rope": {}, "layer_types": ["gqa"], "num_nextn_predict_layers": 1,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}}
        });
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        let token = config.cache_bytes_per_token(Dtype::F32);
        let memory = CacheMemory::new(40 * token, &config, 16, Dtype::F32, Dtype::F32);
        assert_eq!(memory.of_sequence(17, false), 32 * token);
        // the module is a third layer
        assert_eq!(memory.of_sequence(17, true), 48 * token);
        assert_eq!(memory.tokens_in(5 * token + 1), 5);
        assert!(memory.check(32, false).is_ok());
        let refused = memory.check(33, false).unwrap_err().to_string();
        assert!(refused.contains("33 tokens"), "{refused}");
    }
}
