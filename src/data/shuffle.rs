//! Stateless random numbers: every draw is a function of a seed and counters.

/// Rounds of the Feistel network; four suffice for a good shuffle (Luby and Rackoff).
const ROUNDS: usize = 6;

/// SplitMix64's finalizer (Steele, Lea and Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// 64 random bits for a position given by three numbers.
pub(super) fn draw(seed: u64, place: [u64; 3]) -> u64 {
    place
        .iter()
        .fold(mix(seed ^ 0x9E37_79B9_7F4A_7C15), |state, &part| {
            mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ mix(part))
        })
}

/// A random number in `[0, 1)`.
pub(super) fn draw_unit(seed: u64, place: [u64; 3]) -> f64 {
    (draw(seed, place) >> 11) as f64 / (1u64 << 53) as f64
}

/// A random permutation of `0..len` in constant memory: a Feistel network over the next power of four, applied until
/// the result is below `len` (cycle walking; Black and Rogaway, 2002).
#[derive(Debug, Clone, Copy)]
pub(super) struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `len` items in epoch `epoch` of stream `stream`.
    pub(super) fn new(len: u64, seed: u64, stream: u64, epoch: u64) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        Self {
            len,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|round| draw(seed, [stream, epoch, round as u64])),
        }
    }

    /// The item at `place`, which must be below `len`.
    pub(super) fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.len);
        let mut x = place;
        loop {
            x = self.step(x);
            if x < self.len {
                return x;
            }
        }
    }

    fn step(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ mix(right ^ key) & mask);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_gets_another_thing() {
        for len in [1, 2, 3, 5, 16, 17, 1000, 4097] {
            let order = Permutation::new(len, 7, 1, 0);
            let mut things: Vec<u64> = (0..len).map(|place| order.at(place)).collect();
            things.sort_unstable();
            assert!(things.into_iter().eq(0..len), "{len}");
        }
    }

    #[test]
    fn orders_differ_by_seed_stream_and_epoch_and_repeat_otherwise() {
        let order = |seed, stream, epoch| {
            let order = Permutation::new(1000, seed, stream, epoch);
            (0..20).map(|place| order.at(place)).collect::<Vec<_>>()
        };
        assert_eq!(order(1, 2, 3), order(1, 2, 3));
        assert_ne!(order(1, 2, 3), order(0, 2, 3));
        assert_ne!(order(1, 2, 3), order(1, 0, 3));
        assert_ne!(order(1, 2, 3), order(1, 2, 0));
    }

    #[test]
    fn neighbors_are_torn_apart_and_every_place_is_equally_likely() {
        let len = 1000;
        let order = Permutation::new(len, 3, 0, 0);
        let neighbors = (1..len)
            .filter(|&place| order.at(place).abs_diff(order.at(place - 1)) == 1)
            .count();
        assert!(neighbors < 10, "{neighbors}");

        // the first of three items is uniformly distributed over many epochs
        let mut counts = [0; 3];
        for epoch in 0..3000 {
            counts[Permutation::new(3, 3, 0, epoch).at(0) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn draws_are_even_in_the_unit_interval() {
        let mean = (0..10_000).map(|i| draw_unit(1, [0, 0, i])).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }
}
