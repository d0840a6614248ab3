//! Chance levels: the value of a figure if routers chose at random with their actual loads.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::telemetry::Chance;

/// Number of random permutations.
const DEALS: usize = 10;

/// Mean and standard deviation of a figure over random permutations of the choices among tokens; `None` where the
/// figure is undefined or does not vary.
pub fn chance(
    choices: &[u16],
    seed: u64,
    figure: impl Fn(&[u16]) -> Option<f64>,
) -> Option<Chance> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut dealt = choices.to_vec();
    let found = (0..DEALS).map(|_| {
        dealt.shuffle(rng);
        figure(&dealt)
    });
    let found: Vec<f64> = found.collect::<Option<_>>()?;
    let mean = found.iter().sum::<f64>() / DEALS as f64;
    let squares = found.iter().map(|value| (value - mean).powi(2));
    let deviation = (squares.sum::<f64>() / (DEALS - 1) as f64).sqrt();
    (deviation > 0.0).then_some(Chance { mean, deviation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::cohesion::cohesion;
    use crate::study::testing::{random_labels, with_mean_cosine};

    const TOKENS: usize = 2000;
    const WIDTH: usize = 24;

    /// Number of standard deviations by which the cohesion of labels exceeds chance.
    fn above(vectors: &[f32], labels: &[u16]) -> f64 {
        let figure = |labels: &[u16]| cohesion(vectors, WIDTH, labels, 8);
        let chance = chance(labels, 3, figure).unwrap();
        (figure(labels).unwrap() - chance.mean) / chance.deviation
    }

    #[test]
    fn labels_that_follow_the_vectors_are_far_above_chance_and_random_ones_are_not() {
        let vectors = with_mean_cosine(TOKENS, WIDTH, 0.5, 1);
        let octant = |vector: &[f32]| {
            let above = vector[..3].iter().map(|&value| u16::from(value > 0.2));
            above.fold(0, |label, bit| 2 * label + bit)
        };
        let labels: Vec<u16> = vectors.chunks(WIDTH).map(octant).collect();
        let followed = above(&vectors, &labels);
        assert!(followed > 30.0, "{followed}");
        for seed in 0..4 {
            let random = above(&vectors, &random_labels(TOKENS, 8, seed));
            assert!(random.abs() < 5.0, "{random}");
        }
    }

    #[test]
    fn what_does_not_vary_has_no_chance() {
        assert_eq!(chance(&[1, 1, 1], 0, |_| Some(0.5)), None);
        assert_eq!(chance(&[1, 2], 0, |_| None), None);
    }
}
