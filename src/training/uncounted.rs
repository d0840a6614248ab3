//! Why there is nothing to learn or to measure in a text.

use std::fmt;

use crate::data::PackedBatch;

/// Why no token of some rows counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// Every document is a single token, which nothing comes before.
    SingleTokens,
    /// Of conversations only what the assistant says counts, and here it says nothing.
    NoAnswer,
}

impl From<&PackedBatch> for Uncounted {
    fn from(rows: &PackedBatch) -> Self {
        let has_pair = |row: &[i32]| row.windows(2).any(|two| two[0] >= 0 && two[0] == two[1]);
        match rows.segments.chunks(rows.seq_len).any(has_pair) {
            true => Self::NoAnswer,
            false => Self::SingleTokens,
        }
    }
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleTokens => "each document is a single token, which nothing comes before",
            Self::NoAnswer => {
                "of a conversation only what the assistant says counts, and here it says nothing"
            }
        })
    }
}
