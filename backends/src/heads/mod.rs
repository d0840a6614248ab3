//! Reordering and repetition of heads.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

use serde::{Deserialize, Serialize};

/// Assignment of `n * each` heads to the `n` heads of which they are copies, for head `h`:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadSharing {
    /// `h mod n` (Genesis-152M).
    Tiled,
    /// `h / each`: neighbouring heads share one (grouped-query attention, Qwen3-Next).
    #[default]
    Grouped,
}

impl HeadSharing {
    /// Index of the head of which `head` is a copy, for `count` heads repeated `each` times.
    pub fn source(self, head: usize, count: usize, each: usize) -> usize {
        match self {
            Self::Tiled => head % count,
            Self::Grouped => head / each,
        }
    }
}
