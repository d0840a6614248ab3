//! Random noise that depends only on seed, position and token.

use std::f64::consts::LN_2;

/// Standard Gumbel noise of all tokens at one position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    mixed: u64,
}

impl Noise {
    /// Noise at a position, a pure function of the arguments.
    pub(super) fn new(seed: u64, position: usize) -> Self {
        Self {
            mixed: mix(mix(seed) ^ position as u64),
        }
    }

    /// Noise of a token.
    pub(super) fn of(self, id: u32) -> f64 {
        // 53 random bits, strictly between zero and one
        let uniform = ((self.bits(id) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -(-uniform.ln()).ln()
    }

    /// A number that the noise of a token does not exceed. It takes no logarithms.
    pub(super) fn bound(self, id: u32) -> f64 {
        let ones = self.bits(id).leading_ones();
        if ones >= 52 {
            return f64::INFINITY;
        }
        // u < 1 - 2^-(ones + 1), and -ln(1 - x) > x; the rest is more than logarithms are rounded by
        f64::from(ones + 1) * LN_2 + 1e-9
    }

    fn bits(self, id: u32) -> u64 {
        mix(self.mixed ^ u64::from(id))
    }
}

/// SplitMix64 (Steele, Lea and Flood, <https://doi.org/10.1145/2660193.2660195>), a bijection.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::Noise;

    #[test]
    fn noise_has_the_moments_of_a_gumbel_distribution_along_every_argument() {
        let along = [
            |i: u64| Noise::new(i, 3).of(5),
            |i: u64| Noise::new(7, i as usize).of(5),
            |i: u64| Noise::new(7, 3).of(i as u32),
        ];
        for noise in along {
            let count = 100_000;
            let values: Vec<f64> = (0..count).map(noise).collect();
            let mean = values.iter().sum::<f64>() / count as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64;
            assert!((mean - 0.577_216).abs() < 0.015, "{mean}");
            assert!((variance - 1.644_934).abs() < 0.04, "{variance}");
        }
    }

    #[test]
    fn the_bound_is_close_above_the_noise() {
        let noise = Noise::new(5, 9);
        let mut apart = 0.0;
        for id in 0..200_000 {
            let (value, bound) = (noise.of(id), noise.bound(id));
            assert!(value <= bound, "{id}: {value} above {bound}");
            apart += bound - value;
        }
        assert!(apart / 200_000.0 < 1.5, "{apart}");
    }
}
