//! Balanced clustering of neurons by the tokens that mark them.
//!
//! After CMoE (<https://arxiv.org/abs/2502.04416>), section 3.2, which solves one assignment problem over all neurons.
//! Here neurons are assigned in the order of their regret, then pairs are swapped while that lowers the distance.

use rayon::prelude::*;

use super::markers::Markers;

/// Rounds of assignment and new centroids.
const ROUNDS: usize = 4;

/// Most passes over all pairs of clusters per assignment.
const PASSES: usize = 8;

/// Divides `neurons`, most often marked first, into `count` clusters of one size. Every cluster begins at one of the
/// first neurons.
///
/// The distance of neuron `j` to cluster `e` is the L1 distance of their columns over the tokens,
/// `sum_t |m_tj - c_te| = sum_t m_tj + sum_t c_te - 2 sum_t m_tj c_te`, since marks are 0 or 1 and a centroid is their
/// mean.
///
/// # Panics
///
/// If `count` does not divide the number of neurons.
pub(super) fn clusters(markers: &Markers, neurons: &[usize], count: usize) -> Vec<Vec<usize>> {
    assert!(
        neurons.len().is_multiple_of(count),
        "clusters are of one size"
    );
    let size = neurons.len() / count;
    let width = markers.counts().len();
    let mut centroids = Centroids::of(markers, count, |neuron| {
        neurons[..count].iter().position(|&it| it == neuron)
    });
    let mut clusters = Vec::new();
    for _ in 0..ROUNDS {
        let distances = centroids.distances(markers, neurons);
        let assigned = assign(&distances, count, size);
        if assigned == clusters {
            break;
        }
        clusters = assigned;
        let mut of_neuron = vec![None; width];
        for (&neuron, &cluster) in neurons.iter().zip(&clusters) {
            of_neuron[neuron] = Some(cluster);
        }
        centroids = Centroids::of(markers, count, |neuron| of_neuron[neuron]);
    }
    let mut members = vec![Vec::with_capacity(size); count];
    for (&neuron, &cluster) in neurons.iter().zip(&clusters) {
        members[cluster].push(neuron);
    }
    members.iter_mut().for_each(|it| it.sort_unstable());
    members
}

impl Markers {
    /// For every cluster, the member whose marks are nearest to the cluster's mean.
    pub(super) fn representatives(&self, clusters: &[Vec<usize>]) -> Vec<usize> {
        let mut of_neuron = vec![None; self.counts().len()];
        for (cluster, members) in clusters.iter().enumerate() {
            members.iter().for_each(|&it| of_neuron[it] = Some(cluster));
        }
        let centroids = Centroids::of(self, clusters.len(), |neuron| of_neuron[neuron]);
        let nearest = |(cluster, members): (usize, &Vec<usize>)| {
            let distances = centroids.distances(self, members);
            let own = members
                .iter()
                .enumerate()
                .map(|(at, &member)| (distances[at * clusters.len() + cluster], member));
            let nearest = own.min_by(|a, b| a.0.total_cmp(&b.0));
            nearest.map_or(0, |(_, member)| member)
        };
        clusters.iter().enumerate().map(nearest).collect()
    }
}

/// Mean columns of marks.
struct Centroids {
    count: usize,
    /// `[tokens, count]`.
    values: Vec<f32>,
    /// Sum over the tokens, `[count]`.
    sums: Vec<f64>,
}

impl Centroids {
    /// Mean marks of the neurons of each cluster.
    fn of(
        markers: &Markers,
        count: usize,
        cluster: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Self {
        let mut sizes = vec![0u32; count];
        let width = markers.counts().len();
        let clusters: Vec<Option<usize>> = (0..width).map(cluster).collect();
        for &cluster in clusters.iter().flatten() {
            sizes[cluster] += 1;
        }
        let shares: Vec<f32> = sizes.iter().map(|&size| 1.0 / size.max(1) as f32).collect();
        let pieces: Vec<Vec<f32>> = markers
            .pieces()
            .map(|piece| {
                let mut values = Vec::new();
                for neurons in piece.tokens() {
                    let first = values.len();
                    values.resize(first + count, 0.0);
                    for cluster in neurons.filter_map(|neuron| clusters[neuron]) {
                        values[first + cluster] += shares[cluster];
                    }
                }
                values
            })
            .collect();
        let values = pieces.concat();
        let mut sums = vec![0.0; count];
        for of_token in values.chunks(count) {
            for (sum, &value) in sums.iter_mut().zip(of_token) {
                *sum += f64::from(value);
            }
        }
        Self {
            count,
            values,
            sums,
        }
    }

    /// Distances of neurons to the centroids, `[neurons, count]`.
    fn distances(&self, markers: &Markers, neurons: &[usize]) -> Vec<f64> {
        let (count, width) = (self.count, markers.counts().len());
        let products: Vec<Vec<f32>> = markers
            .pieces()
            .map(|piece| {
                let mut products = vec![0.0; width * count];
                let centroids = self.values[piece.first * count..].chunks(count);
                for (marked, centroid) in piece.tokens().zip(centroids) {
                    for neuron in marked {
                        let sums = &mut products[neuron * count..][..count];
                        sums.iter_mut()
                            .zip(centroid)
                            .for_each(|(sum, value)| *sum += value);
                    }
                }
                products
            })
            .collect();
        let of_neuron = |&neuron: &usize| {
            let marks = markers.counts()[neuron] as f64;
            let products = &products;
            (0..count).map(move |cluster| {
                let products = products
                    .iter()
                    .map(|it| f64::from(it[neuron * count + cluster]));
                marks + self.sums[cluster] - 2.0 * products.sum::<f64>()
            })
        };
        neurons.iter().flat_map(of_neuron).collect()
    }
}

/// Cluster of every neuron, `size` of them in each, with a small sum of distances.
///
/// # Shapes
///
/// - distances: `[neurons, count]`
fn assign(distances: &[f64], count: usize, size: usize) -> Vec<usize> {
    let neurons = distances.len() / count;
    let of = |neuron: usize| &distances[neuron * count..][..count];
    // regret: by how much the second choice is worse
    let regret = |neuron: usize| {
        let mut sorted = of(neuron).to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(1).map_or(0.0, |second| second - sorted[0])
    };
    let regrets: Vec<f64> = (0..neurons).map(regret).collect();
    let mut order: Vec<usize> = (0..neurons).collect();
    order.sort_by(|&a, &b| regrets[b].total_cmp(&regrets[a]));
    let mut free = vec![size; count];
    let mut clusters = vec![0; neurons];
    for neuron in order {
        let open = (0..count).filter(|&cluster| free[cluster] > 0);
        let nearest = open.min_by(|&a, &b| of(neuron)[a].total_cmp(&of(neuron)[b]));
        let nearest = nearest.expect("there are as many places as neurons");
        free[nearest] -= 1;
        clusters[neuron] = nearest;
    }
    for _ in 0..PASSES {
        let mut swapped = false;
        for left in 0..count {
            for right in left + 1..count {
                swapped |= swap(distances, count, &mut clusters, [left, right]);
            }
        }
        if !swapped {
            break;
        }
    }
    clusters
}

/// Exchanges neurons of two clusters while that lowers the sum of distances: with fixed distances, the best exchange
/// pairs those that gain most.
fn swap(distances: &[f64], count: usize, clusters: &mut [usize], pair: [usize; 2]) -> bool {
    let gainers = |from: usize, to: usize| {
        let members = (0..clusters.len()).filter(|&neuron| clusters[neuron] == from);
        let gain = |neuron: usize| {
            let of = &distances[neuron * count..];
            (of[from] - of[to], neuron)
        };
        let mut gains: Vec<(f64, usize)> = members.map(gain).collect();
        gains.sort_by(|a, b| b.0.total_cmp(&a.0));
        gains
    };
    let [left, right] = pair;
    let pairs = gainers(left, right).into_iter().zip(gainers(right, left));
    // sums of rounded distances: a gain must be more than their error
    let exchanges = pairs.take_while(|((one, _), (other, _))| one + other > 1e-6);
    let exchanges: Vec<_> = exchanges.collect();
    for ((_, one), (_, other)) in &exchanges {
        (clusters[*one], clusters[*other]) = (right, left);
    }
    !exchanges.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::partition::tests::kinds;
    use super::*;

    /// The distance, computed token by token.
    fn slow(markers: &Markers, neuron: usize, members: &[usize]) -> f64 {
        let tokens: Vec<Vec<usize>> = markers
            .pieces()
            .map(|piece| piece.tokens().map(Iterator::collect).collect::<Vec<_>>())
            .collect::<Vec<Vec<Vec<usize>>>>()
            .concat();
        let of_token = |marked: &Vec<usize>| {
            let mark = f64::from(u8::from(marked.contains(&neuron)));
            let of_members = members.iter().filter(|it| marked.contains(it)).count();
            (mark - of_members as f64 / members.len() as f64).abs()
        };
        tokens.iter().map(of_token).sum()
    }

    #[test]
    fn distances_are_those_computed_token_by_token() {
        let order: Vec<usize> = (0..96).collect();
        let markers = kinds(96, 3, 4, &order);
        let cluster = |neuron: usize| (neuron % 5 < 3).then_some(neuron % 5);
        let centroids = Centroids::of(&markers, 3, cluster);
        let neurons = [1, 8, 40, 95];
        let found = centroids.distances(&markers, &neurons);
        for (at, neuron) in neurons.into_iter().enumerate() {
            for of in 0..3 {
                let members: Vec<usize> = (0..96).filter(|it| it % 5 == of).collect();
                let expected = slow(&markers, neuron, &members);
                let found = found[at * 3 + of];
                assert!(
                    (found - expected).abs() < 1e-3,
                    "{found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn neurons_that_the_same_tokens_mark_come_into_one_cluster() {
        let order: Vec<usize> = (0..96).collect();
        let markers = kinds(96, 6, 0, &order);
        // the first of each kind, then the others
        let neurons: Vec<usize> = (0..96).collect();
        for cluster in clusters(&markers, &neurons, 6) {
            let kind = cluster[0] % 6;
            let own = cluster.iter().filter(|&&neuron| neuron % 6 == kind).count();
            assert!(own == 16, "{cluster:?}");
        }
    }

    /// By regret alone the first neuron would get the farthest cluster.
    #[test]
    fn an_assignment_is_as_good_as_the_best_of_all() {
        let distances = [[0.0, 5.0, 100.0], [0.0, 6.0, 6.0], [9.0, 0.0, 8.0]];
        let assigned = assign(&distances.concat(), 3, 1);
        let cost = |clusters: &[usize]| -> f64 {
            let pairs = clusters.iter().zip(&distances);
            pairs.map(|(&cluster, of)| of[cluster]).sum()
        };
        let all = (0..27).map(|number| [number % 3, number / 3 % 3, number / 9]);
        let all = all.filter(|[a, b, c]| a != b && b != c && a != c);
        let best = all.map(|clusters| cost(&clusters)).fold(f64::MAX, f64::min);
        assert_eq!(cost(&assigned), best, "{assigned:?}");
    }
}
