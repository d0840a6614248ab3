//! Reasons why a text has nothing to learn from or to measure.

use std::fmt;

use crate::data::PackedBatch;

/// Why no token of some rows counts in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// Every document is a single token, which has no context to be predicted from.
    SingleTokens,
    /// Only the assistant's turns of a conversation count, and here they are empty.
    NoAnswer,
}

impl From<&PackedBatch> for Uncounted {
    fn from(rows: &PackedBatch) -> Self {
        let has_pair = |row: &[i32]| row.windows(2).any(|two| two[0] >= 0 && two[0] == two[1]);
        if rows.segments.chunks(rows.seq_len).any(has_pair) {
            Self::NoAnswer
        } else {
            Self::SingleTokens
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UNTAGGED;

    /// The reason for two rows of four tokens with these segment numbers.
    fn reason(segments: [i32; 8]) -> Uncounted {
        let rows = PackedBatch {
            rows: 2,
            seq_len: 4,
            ids: vec![3; 8],
            segments: segments.into(),
            positions: vec![0; 8],
            tags: vec![UNTAGGED; 8],
            domains: vec![0; 8],
            counted: vec![false; 8],
            bytes: vec![1; 8],
            documents: vec![vec![0]; 2],
        };
        Uncounted::from(&rows)
    }

    #[test]
    fn documents_of_single_tokens_are_told_from_conversations_without_an_answer() {
        assert_eq!(reason([0, 1, 2, 3, 0, 1, 2, 3]), Uncounted::SingleTokens);
        // with padding after the documents; rows may end and begin with equal segments
        assert_eq!(
            reason([0, 1, -1, -1, 0, -1, -1, -1]),
            Uncounted::SingleTokens
        );
        assert_eq!(reason([0, 1, 2, 3, 3, 4, 5, 6]), Uncounted::SingleTokens);
        assert_eq!(reason([0, 1, 2, 3, 0, 1, 1, -1]), Uncounted::NoAnswer);
    }
}
