//! Vectors and labels for tests of the metrics.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Random vectors with this mean cosine between pairs: a shared direction plus noise.
pub(super) fn with_mean_cosine(tokens: usize, width: usize, cosine: f64, seed: u64) -> Vec<f32> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    // cos = a^2 / (a^2 + 1) for a shared part of length a and noise of length 1
    let shared = (cosine / (1.0 - cosine)).sqrt() / (width as f64).sqrt();
    let noise = (width as f64).sqrt().recip();
    let mut draw = || -> f64 { StandardNormal.sample(rng) };
    (0..tokens * width)
        .map(|_| (shared + noise * draw()) as f32)
        .collect()
}

/// A label below `labels` for each token.
pub(super) fn random_labels(tokens: usize, labels: u16, seed: u64) -> Vec<u16> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    (0..tokens).map(|_| rng.random_range(0..labels)).collect()
}
