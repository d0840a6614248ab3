//! Heads as they lie in memory: before their tokens or behind, and one for several.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

/// Which of `n` heads head `h` of `n * each` is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadSharing {
    /// `h mod n`.
    Tiled,
    /// `h / each`: neighbours share.
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
