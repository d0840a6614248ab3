//! SSI*: whether tokens that visit the same expert are similar in meaning.

/// Semantic cohesion of experts: `SSI* = 1 - D_within / D_all` over cosine distances of pairs of tokens, where
///
/// - `D_within` is the mean over all pairs that share an expert (counted once per shared expert),
/// - `D_all` is the mean over all pairs.
///
/// Vectors are centred (their mean is subtracted) and then normalized, so that a direction common to all tokens does
/// not count. 0: routing is unrelated to meaning; 1: the tokens of an expert are identical; below 0: tokens of an
/// expert differ more than others. `None` if no pair shares an expert or all tokens are equal.
///
/// The sum of the cosines of all pairs of a group is `|sum u|^2 - n`, so the cost is linear in tokens.
///
/// # Shapes
///
/// - vectors: `[tokens, width]`; choices: `[tokens, k]`, where numbers from `experts` on are null experts and form no
///   group
pub fn cohesion(vectors: &[f32], width: usize, choices: &[u16], experts: usize) -> Option<f64> {
    let tokens = vectors.len().checked_div(width)?;
    let k = choices.len().checked_div(tokens)?;
    let mut all = Group::new(width);
    let mut groups = vec![Group::new(width); experts];
    let units = centred_units(vectors, width);
    for (unit, chosen) in units
        .chunks_exact(width)
        .zip(choices.chunks_exact(k.max(1)))
    {
        all.add(unit);
        for &expert in chosen {
            if let Some(group) = groups.get_mut(usize::from(expert)) {
                group.add(unit);
            }
        }
    }
    let mut within = Pairs::default();
    groups.iter().for_each(|group| within.add(group.pairs()));
    let (within, all) = (within.mean_distance()?, all.pairs().mean_distance()?);
    (all > 1e-9).then(|| 1.0 - within / all)
}

/// Centred vectors of length one; those of length zero stay zero.
fn centred_units(vectors: &[f32], width: usize) -> Vec<f64> {
    let tokens = vectors.len() / width;
    let mut mean = vec![0.0; width];
    for vector in vectors.chunks_exact(width) {
        let values = mean.iter_mut().zip(vector);
        values.for_each(|(sum, &value)| *sum += f64::from(value) / tokens as f64);
    }
    let mut units = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks_exact(width) {
        let centred = vector.iter().zip(&mean);
        let centred: Vec<f64> = centred
            .map(|(&value, mean)| f64::from(value) - mean)
            .collect();
        let length = centred
            .iter()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt();
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        units.extend(centred.into_iter().map(|value| value * scale));
    }
    units
}

/// A group of unit vectors, by their sum.
#[derive(Debug, Clone)]
struct Group {
    sum: Vec<f64>,
    tokens: f64,
    /// Sum of the squared lengths, which are the cosines of vectors with themselves.
    with_themselves: f64,
}

impl Group {
    fn new(width: usize) -> Self {
        Self {
            sum: vec![0.0; width],
            tokens: 0.0,
            with_themselves: 0.0,
        }
    }

    fn add(&mut self, unit: &[f64]) {
        for (sum, value) in self.sum.iter_mut().zip(unit) {
            *sum += value;
            self.with_themselves += value * value;
        }
        self.tokens += 1.0;
    }

    fn pairs(&self) -> Pairs {
        let square: f64 = self.sum.iter().map(|value| value * value).sum();
        Pairs {
            count: self.tokens * (self.tokens - 1.0),
            cosines: square - self.with_themselves,
        }
    }
}

/// Number of ordered pairs of different vectors, and the sum of their cosines.
#[derive(Debug, Clone, Copy, Default)]
struct Pairs {
    count: f64,
    cosines: f64,
}

impl Pairs {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.cosines += other.cosines;
    }

    fn mean_distance(self) -> Option<f64> {
        (self.count > 0.0).then(|| 1.0 - self.cosines / self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::legacy::legacy;
    use crate::study::testing::{random_labels, with_mean_cosine};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const WIDTH: usize = 24;

    /// Vectors around `groups` centres, with the index of each vector's centre.
    fn planted(tokens: usize, groups: usize, spread: f32) -> (Vec<f32>, Vec<u16>) {
        let rng = &mut SmallRng::seed_from_u64(5);
        let mut draw = |scale: f32| -> Vec<f32> {
            (0..WIDTH)
                .map(|_| scale * rng.random_range(-1.0..1.0f32))
                .collect()
        };
        let centres: Vec<_> = (0..groups).map(|_| draw(1.0)).collect();
        let labels: Vec<u16> = (0..tokens).map(|token| (token % groups) as u16).collect();
        let vectors = labels.iter().flat_map(|&label| {
            let noise = draw(spread);
            let centre = centres[usize::from(label)].iter();
            centre
                .zip(noise)
                .map(|(value, noise)| value + noise)
                .collect::<Vec<_>>()
        });
        (vectors.collect(), labels)
    }

    /// Cohesion by enumerating all pairs.
    fn slow(vectors: &[f32], choices: &[u16], k: usize, experts: usize) -> f64 {
        let units = centred_units(vectors, WIDTH);
        let unit = |token: usize| &units[token * WIDTH..][..WIDTH];
        let tokens = vectors.len() / WIDTH;
        let (mut within, mut all) = ((0.0, 0.0), (0.0, 0.0));
        for a in 0..tokens {
            for b in (0..tokens).filter(|&b| b != a) {
                let cosine: f64 = unit(a).iter().zip(unit(b)).map(|(a, b)| a * b).sum();
                all = (all.0 + 1.0 - cosine, all.1 + 1.0);
                for expert in &choices[a * k..][..k] {
                    if usize::from(*expert) < experts && choices[b * k..][..k].contains(expert) {
                        within = (within.0 + 1.0 - cosine, within.1 + 1.0);
                    }
                }
            }
        }
        1.0 - (within.0 / within.1) / (all.0 / all.1)
    }

    #[test]
    fn sums_of_a_group_stand_for_all_its_pairs() {
        let (vectors, _) = planted(60, 4, 0.7);
        let rng = &mut SmallRng::seed_from_u64(2);
        // two distinct slots of seven, of which the last two are null experts
        let choices: Vec<u16> = (0..60)
            .flat_map(|_| {
                let first = rng.random_range(0..7u16);
                [first, (first + rng.random_range(1..7u16)) % 7]
            })
            .collect();
        let fast = cohesion(&vectors, WIDTH, &choices, 5).unwrap();
        let slow = slow(&vectors, &choices, 2, 5);
        assert!((fast - slow).abs() < 1e-9, "{fast}, {slow}");
    }

    #[test]
    fn planted_groups_are_found() {
        let (vectors, labels) = planted(400, 8, 0.1);
        let found = cohesion(&vectors, WIDTH, &labels, 8).unwrap();
        assert!(found > 0.9, "{found}");
    }

    #[test]
    fn random_labels_have_no_cohesion_however_alike_all_vectors_are() {
        let mut of_source = Vec::new();
        for cosine in [0.0, 0.3, 0.68, 0.88, 0.95] {
            let vectors = with_mean_cosine(400, 64, cosine, 3);
            let labels = random_labels(400, 50, 4);
            let found = cohesion(&vectors, 64, &labels, 50).unwrap();
            assert!(found.abs() < 0.02, "{found} at {cosine}");
            of_source.push(legacy(&vectors, 64, &labels).unwrap().ssi);
        }
        assert!(of_source[0] < 0.92 && of_source[4] > 0.999, "{of_source:?}");
    }

    #[test]
    fn shift_scale_and_order_of_the_axes_change_nothing() {
        let (vectors, labels) = planted(120, 6, 0.6);
        let before = cohesion(&vectors, WIDTH, &labels, 6).unwrap();
        let turned = vectors.chunks_exact(WIDTH).flat_map(|vector| {
            // a quarter turn in every plane of neighbours
            let pairs = vector.chunks_exact(2);
            pairs.flat_map(|pair| [7.0 - 3.0 * pair[1], 7.0 + 3.0 * pair[0]])
        });
        let turned: Vec<f32> = turned.collect();
        let after = cohesion(&turned, WIDTH, &labels, 6).unwrap();
        assert!((before - after).abs() < 1e-5, "{before}, {after}");
    }

    #[test]
    fn nothing_is_said_where_there_are_no_pairs() {
        assert_eq!(cohesion(&[], WIDTH, &[], 3), None);
        let two = [0.5; 2 * WIDTH];
        assert_eq!(
            cohesion(&two, WIDTH, &[0, 1], 2),
            None,
            "no pair shares an expert"
        );
        let alone = cohesion(&two, WIDTH, &[9, 9], 2);
        assert_eq!(alone, None, "null experts are no groups");
    }
}
