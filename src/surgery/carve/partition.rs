//! Partition of a feed-forward's neurons into experts.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::cluster::clusters;
use super::markers::Markers;

/// The neurons of every expert, ascending within an expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Neurons of the shared experts together.
    pub shared: Vec<usize>,
    /// Neurons of each routed expert, equally many.
    pub routed: Vec<Vec<usize>>,
}

/// Number of experts, and how many of them are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Neurons of the dense feed-forward.
    pub width: usize,
    /// Experts, shared ones included.
    pub experts: usize,
    /// Shared experts.
    pub shared: usize,
}

impl Sizes {
    /// Neurons of one expert.
    pub fn of_expert(&self) -> usize {
        self.width / self.experts
    }

    /// Routed experts.
    pub fn routed(&self) -> usize {
        self.experts - self.shared
    }
}

impl Partition {
    /// Shares the neurons that most tokens mark, and clusters the others by the tokens that mark them.
    pub fn clustered(markers: &Markers, sizes: Sizes) -> Self {
        let (mut shared, rest) = by_marks(markers, sizes);
        shared.sort_unstable();
        Self {
            shared,
            routed: clusters(markers, &rest, sizes.routed()),
        }
    }

    /// Shares the same neurons as [`clustered`](Self::clustered), and divides the others by lot.
    pub fn random(markers: &Markers, sizes: Sizes, seed: u64) -> Self {
        let (mut shared, mut rest) = by_marks(markers, sizes);
        shared.sort_unstable();
        rest.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let of_expert = |neurons: &[usize]| {
            let mut neurons = neurons.to_vec();
            neurons.sort_unstable();
            neurons
        };
        Self {
            shared,
            routed: rest.chunks(sizes.of_expert()).map(of_expert).collect(),
        }
    }

    /// Neurons of the routed experts, expert by expert.
    pub fn routed_neurons(&self) -> Vec<usize> {
        self.routed.concat()
    }
}

/// The shared neurons, and the others, each most often marked first.
fn by_marks(markers: &Markers, sizes: Sizes) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..sizes.width).collect();
    let (counts, strengths) = (markers.counts(), markers.strengths());
    order.sort_by(|&a, &b| {
        let by_count = counts[b].cmp(&counts[a]);
        by_count.then(strengths[b].total_cmp(&strengths[a]))
    });
    let rest = order.split_off(sizes.shared * sizes.of_expert());
    (order, rest)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Marks of tokens of some kinds: each kind activates its own neurons, `width / kinds` of them, in a mixed order,
    /// and all activate the first `common` of them.
    pub(in crate::surgery::carve) fn kinds(
        width: usize,
        kinds: usize,
        common: usize,
        order: &[usize],
    ) -> Markers {
        let mut markers = Markers::new(width);
        let noise = |token: usize, neuron: usize| {
            let mixed = (token * 2_654_435_761 + neuron * 40_503 + 7) % 8191;
            mixed as f32 / 8191.0
        };
        let mut activations = Vec::new();
        for token in 0..400 {
            let kind = token * 7 % kinds;
            let mut row = vec![0.0; width];
            for neuron in 0..width {
                let strong = if neuron < common { 3.0 } else { 0.0 };
                let own = if neuron % kinds == kind { 1.0 } else { 0.0 };
                row[order[neuron]] = strong + own + 0.9 * noise(token, neuron);
            }
            activations.extend(row);
        }
        markers.add(&activations, &vec![1.0; width]);
        markers
    }

    const SIZES: Sizes = Sizes {
        width: 64,
        experts: 16,
        shared: 1,
    };

    fn all(partition: &Partition) -> Vec<usize> {
        let mut all = [partition.shared.clone(), partition.routed_neurons()].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_neuron_is_in_exactly_one_expert_and_all_experts_are_of_one_size() {
        let plain: Vec<usize> = (0..64).collect();
        let markers = kinds(64, 5, 4, &plain);
        for sizes in [
            SIZES,
            Sizes {
                experts: 8,
                shared: 0,
                ..SIZES
            },
            Sizes {
                experts: 4,
                shared: 3,
                ..SIZES
            },
        ] {
            for partition in [
                Partition::clustered(&markers, sizes),
                Partition::random(&markers, sizes, 3),
            ] {
                assert_eq!(all(&partition), plain);
                assert_eq!(partition.routed.len(), sizes.routed());
                let width = sizes.of_expert();
                assert!(partition.routed.iter().all(|expert| expert.len() == width));
                assert_eq!(partition.shared.len(), sizes.shared * width);
            }
        }
        assert_eq!(Partition::clustered(&markers, SIZES).shared, [0, 1, 2, 3]);
    }

    #[test]
    fn the_order_of_the_neurons_does_not_matter() {
        let plain: Vec<usize> = (0..64).collect();
        let mut order = plain.clone();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(11));
        let first = Partition::clustered(&kinds(64, 5, 4, &plain), SIZES);
        let second = Partition::clustered(&kinds(64, 5, 4, &order), SIZES);
        let groups = |experts: &[Vec<usize>], name: &dyn Fn(usize) -> usize| {
            let mut groups: Vec<Vec<usize>> = experts
                .iter()
                .map(|expert| {
                    let mut named: Vec<usize> = expert.iter().map(|&it| name(it)).collect();
                    named.sort_unstable();
                    named
                })
                .collect();
            groups.sort();
            groups
        };
        assert_eq!(
            groups(&first.routed, &|neuron| order[neuron]),
            groups(&second.routed, &|neuron| neuron)
        );
    }
}
