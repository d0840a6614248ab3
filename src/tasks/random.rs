//! Python's `random.Random`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), with the samples that
//! CPython draws from it. Few-shot examples are chosen with it, so that prompts equal those of lm-evaluation-harness.

use std::collections::HashSet;

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// A generator with the seed of `random.Random(seed)`.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: Vec<u32>,
    at: usize,
}

impl Random {
    /// Seeds the generator with a number of one word, as `init_by_array` of CPython does.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = vec![19_650_218_u32; WORDS];
        for at in 1..WORDS {
            let last = state[at - 1] ^ state[at - 1] >> 30;
            state[at] = 1_812_433_253_u32.wrapping_mul(last).wrapping_add(at as u32);
        }
        let mut at = 1;
        for _ in 0..WORDS {
            let last = state[at - 1] ^ state[at - 1] >> 30;
            state[at] = (state[at] ^ last.wrapping_mul(1_664_525)).wrapping_add(seed);
            at = advanced(&mut state, at);
        }
        for _ in 1..WORDS {
            let last = state[at - 1] ^ state[at - 1] >> 30;
            state[at] = (state[at] ^ last.wrapping_mul(1_566_083_941)).wrapping_sub(at as u32);
            at = advanced(&mut state, at);
        }
        state[0] = 0x8000_0000;
        Self { state, at: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            for at in 0..WORDS {
                let next = self.state[(at + 1) % WORDS];
                let mixed = self.state[at] & 0x8000_0000 | next & 0x7FFF_FFFF;
                let odd = if mixed & 1 == 1 { 0x9908_B0DF } else { 0 };
                self.state[at] = self.state[(at + MIDDLE) % WORDS] ^ mixed >> 1 ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9D2C_5680;
        word ^= word << 15 & 0xEFC6_0000;
        word ^ word >> 18
    }

    /// A number in `[0, 1)` with 53 bits: `random()`.
    pub(super) fn unit(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A number below `bound`, which is at least 1 and fits a word: `_randbelow`.
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.word() >> (32 - bits)) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// `count` different indices below `from`, in the order of `sample(range(from), count)`. `None` if there are not
    /// so many, or more than fit a word.
    pub(super) fn sample(&mut self, from: usize, count: usize) -> Option<Vec<usize>> {
        if count > from || u32::try_from(from).is_err() {
            return None;
        }
        // CPython copies the population if a set of indices would be larger than that
        let mut set_size = 21;
        if count > 5 {
            let log = ((count * 3) as f64).ln() / 4_f64.ln();
            set_size += 4_usize.pow(log.ceil() as u32);
        }
        if from <= set_size {
            let mut pool: Vec<usize> = (0..from).collect();
            let drawn = (0..count).map(|at| {
                let left = from - at;
                let place = self.below(left);
                let drawn = pool[place];
                pool[place] = pool[left - 1];
                drawn
            });
            return Some(drawn.collect());
        }
        let mut taken = HashSet::new();
        let drawn = (0..count).map(|_| {
            loop {
                let place = self.below(from);
                if taken.insert(place) {
                    return place;
                }
            }
        });
        Some(drawn.collect())
    }
}

/// The next place while seeding.
fn advanced(state: &mut [u32], at: usize) -> usize {
    if at + 1 < WORDS {
        return at + 1;
    }
    state[0] = state[WORDS - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are what CPython 3.11 prints.
    #[test]
    fn numbers_and_samples_are_those_of_python() {
        let mut random = Random::new(1234);
        let units: Vec<f64> = (0..3).map(|_| random.unit()).collect();
        assert_eq!(units, UNITS);
        let mut random = Random::new(1234);
        for (from, count, expected) in SAMPLES {
            assert_eq!(random.sample(*from, *count).unwrap(), *expected, "{from}");
        }
        assert_eq!(random.sample(3, 4), None);
        // the state is refilled several times
        let sum: f64 = (0..2000).map(|_| random.unit()).sum();
        assert_eq!(sum, SUM);
    }

    const UNITS: [f64; 3] = [0.9664535356921388, 0.4407325991753527, 0.007491470058587191];
    const SUM: f64 = 1010.5461441773;
    const SAMPLES: &[(usize, usize, &[usize])] = &[
        (10, 3, &[7, 1, 0]),
        (21, 5, &[2, 18, 1, 20, 3]),
        (22, 5, &[11, 7, 0, 20, 19]),
        (1000, 6, &[495, 630, 474, 152, 93, 187]),
        (1, 1, &[0]),
        (
            100,
            40,
            &[
                1, 64, 62, 31, 8, 85, 69, 59, 95, 76, 86, 11, 65, 74, 5, 34, 71, 91, 38, 61, 45,
                84, 96, 25, 58, 67, 2, 87, 9, 0, 42, 18, 60, 48, 21, 6, 83, 37, 77, 10,
            ],
        ),
        (85, 6, &[9, 71, 27, 18, 3, 44]),
        (86, 6, &[14, 67, 18, 85, 39, 58]),
        (
            4000,
            26,
            &[
                162, 1704, 1133, 2713, 3303, 164, 726, 1112, 633, 1229, 3910, 3471, 3191, 3415,
                1902, 168, 2306, 1581, 3130, 1431, 2031, 1399, 2387, 3344, 1917, 1949,
            ],
        ),
    ];
}
