//! Position of a training stream, small enough to be saved in every checkpoint.

use serde::{Deserialize, Serialize};

use super::error::DataError;
use crate::domain::Domain;

/// Upper bound of all counters. Sums over domains stay within a `u64`.
const LARGEST: u64 = 1 << 59;

/// A position in a [`Stream`](super::Stream); the default is its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of batches returned so far.
    pub(super) batches: u64,
    /// Fingerprint of the stream; `None` at the start.
    stream: Option<String>,
    pub(super) pools: Vec<PoolPosition>,
    /// Tokens of the documents begun so far, by domain.
    pub(super) domain_tokens: [u64; Domain::COUNT],
    pub(super) open: Option<OpenDocument>,
}

/// Progress in one pool of the mix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolPosition {
    /// Number of documents begun.
    pub(super) documents: u64,
    /// Number of their tokens.
    pub(super) tokens: u64,
}

/// The last document begun in a pool, of which a part is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenDocument {
    pub(super) pool: usize,
    pub(super) offset: u64,
}

impl Position {
    /// Number of batches returned so far.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Checks that this is a position of the stream `fingerprint` with `pools` pools.
    pub(super) fn resume(mut self, fingerprint: &str, pools: usize) -> Result<Self, DataError> {
        let mismatch = |reason: &str| DataError::Position {
            reason: reason.into(),
        };
        match &self.stream {
            None if self == Self::default() => self.pools = vec![PoolPosition::default(); pools],
            Some(stream) if stream == fingerprint => {}
            _ => return Err(mismatch("data, mix, domain settings or seed have changed")),
        }
        if self.pools.len() != pools || !self.is_possible() {
            return Err(mismatch("its numbers contradict each other"));
        }
        self.stream = Some(fingerprint.into());
        Ok(self)
    }

    /// Whether the counters are consistent.
    fn is_possible(&self) -> bool {
        let of_domains = self.domain_tokens.iter();
        let mut of_pools = self.pools.iter();
        let numbers = of_domains.clone().chain([&self.batches]);
        let mut numbers = numbers.chain(self.pools.iter().map(|pool| &pool.tokens));
        if numbers.any(|&number| number > LARGEST) {
            return false;
        }
        let tokens = self.pools.iter().map(|pool| pool.tokens).sum::<u64>();
        let is_open = |open: &OpenDocument| {
            let pool = self.pools.get(open.pool);
            pool.is_some_and(|pool| pool.documents > 0)
        };
        // every document counts for at least one token
        of_pools.all(|pool| pool.documents <= pool.tokens)
            && tokens == of_domains.sum::<u64>()
            && self.open.as_ref().is_none_or(is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(json: &str) -> Result<Position, DataError> {
        serde_json::from_str::<Position>(json)
            .unwrap()
            .resume("here", 1)
    }

    #[test]
    fn a_place_of_another_stream_or_a_contradiction_is_refused() {
        let json = |stream: &str, pools: &str, open: &str| {
            format!(
                r#"{{"batches":1,"stream":{stream},"pools":{pools},"domain_tokens":[5,0,0,0,0,0,0,0,0,0],"open":{open}}}"#
            )
        };
        let pool = r#"[{"documents":1,"tokens":5}]"#;
        let open = r#"{"pool":0,"offset":3}"#;
        assert!(place(&json("\"here\"", pool, open)).is_ok());

        let changed = place(&json("\"there\"", pool, open))
            .unwrap_err()
            .to_string();
        assert!(
            changed.contains("have changed; go on with the same data"),
            "{changed}"
        );
        for (stream, pools, open) in [
            ("null", pool, open),
            ("\"here\"", "[]", "null"),
            ("\"here\"", pool, r#"{"pool":7,"offset":0}"#),
            ("\"here\"", r#"[{"documents":0,"tokens":5}]"#, open),
            ("\"here\"", r#"[{"documents":6,"tokens":5}]"#, open),
            ("\"here\"", r#"[{"documents":1,"tokens":4}]"#, open),
            (
                "\"here\"",
                r#"[{"documents":1,"tokens":18446744073709551615}]"#,
                open,
            ),
        ] {
            assert!(
                place(&json(stream, pools, open)).is_err(),
                "{stream} {pools} {open}"
            );
        }
    }
}
