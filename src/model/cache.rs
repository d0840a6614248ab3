//! The past of a sequence while decoding. Owned by the caller.

use darkhorse_backends::Ops;

use super::mixer::{Mixer, TokenMixer};

/// One mixer cache per layer, and how many positions they hold.
#[derive(Debug, Clone)]
pub struct Cache<B: Ops, M: TokenMixer<B> = Mixer<B>> {
    pub(super) layers: Vec<M::Cache>,
    pub(super) len: usize,
}

impl<B: Ops, M: TokenMixer<B>> Cache<B, M> {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was decoded yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
