//! Reservoir sampling: a fixed number of tokens, drawn uniformly from a stream of unknown length.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Vitter's algorithm R (<https://doi.org/10.1145/3147.3165>): every token has the same chance of being drawn.
#[derive(Debug)]
pub(super) struct Reservoir {
    size: usize,
    /// Number of tokens seen.
    seen: u64,
    rng: SmallRng,
    /// Indices of the drawn tokens.
    tokens: Vec<u64>,
}

impl Reservoir {
    pub(super) fn new(size: usize, seed: u64) -> Self {
        Self {
            size,
            seen: 0,
            rng: SmallRng::seed_from_u64(seed),
            tokens: Vec::new(),
        }
    }

    /// Offers the next `count` tokens. Returns a map from place in the reservoir to the offered token, from 0, that
    /// now holds it.
    pub(super) fn offer(&mut self, count: usize) -> BTreeMap<usize, usize> {
        let mut held = BTreeMap::new();
        for token in 0..count {
            let place = if self.tokens.len() < self.size {
                self.tokens.len()
            } else {
                self.rng.random_range(0..=self.seen) as usize
            };
            if place < self.size {
                self.tokens.resize(self.tokens.len().max(place + 1), 0);
                self.tokens[place] = self.seen;
                held.insert(place, token);
            }
            self.seen += 1;
        }
        held
    }

    /// Indices of the drawn tokens, by place.
    pub(super) fn into_tokens(self) -> Vec<u64> {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_stream_is_held_whole() {
        let mut reservoir = Reservoir::new(8, 1);
        assert_eq!(
            reservoir.offer(3).into_iter().collect::<Vec<_>>(),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(reservoir.into_tokens(), [0, 1, 2]);
    }

    #[test]
    fn every_token_has_the_same_chance() {
        let mut counts = [0u32; 50];
        for seed in 0..4000 {
            let mut reservoir = Reservoir::new(10, seed);
            (0..5).for_each(|_| drop(reservoir.offer(10)));
            for token in reservoir.into_tokens() {
                counts[token as usize] += 1;
            }
        }
        // 800 each, with a deviation of 25
        assert!(
            counts.iter().all(|count| (690..910).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn places_that_are_told_hold_the_tokens_that_are_told() {
        let mut reservoir = Reservoir::new(4, 9);
        let mut held = [u64::MAX; 4];
        for batch in 0..20u64 {
            for (place, token) in reservoir.offer(7) {
                held[place] = batch * 7 + token as u64;
            }
        }
        assert_eq!(reservoir.into_tokens(), held);
    }
}
