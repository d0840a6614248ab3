//! Random noise that depends only on seed, position and token.

/// Standard Gumbel noise of a token at a position, a pure function of the arguments.
pub(super) fn gumbel(seed: u64, position: usize, id: u32) -> f64 {
    let mixed = mix(mix(mix(seed) ^ position as u64) ^ u64::from(id));
    // 53 random bits, strictly between zero and one
    let uniform = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -(-uniform.ln()).ln()
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
    use super::gumbel;

    #[test]
    fn noise_has_the_moments_of_a_gumbel_distribution_along_every_argument() {
        let along = [
            |i: u64| gumbel(i, 3, 5),
            |i: u64| gumbel(7, i as usize, 5),
            |i: u64| gumbel(7, 3, i as u32),
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
}
