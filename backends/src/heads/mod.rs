//! Heads as they lie in memory: before their tokens or behind, and one for several.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use serde::{Deserialize, Serialize};

/// Which of `n` heads head `h` of `n * each` is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadSharing {
    /// `h mod n` (Genesis-152M).
    Tiled,
    /// `h / each`: neighbours share (grouped-query attention, Qwen3-Next).
    #[default]
    Grouped,
}

impl HeadSharing {
    /// The head that `head` of `count * each` is a copy of.
    pub fn source(self, head: usize, count: usize, each: usize) -> usize {
        match self {
            Self::Tiled => head % count,
            Self::Grouped => head / each,
        }
    }
}
