//! Hit rates of an expert cache, replayed exactly from recorded routes.
//!
//! The cache holds a fixed number of experts of the whole model and begins empty. Tokens are decoded one after the
//! other; each visits layer after layer, and within a layer its experts in the order of the router's choice. A
//! missing expert is loaded and replaces the one that the [`Policy`] evicts.

use std::collections::BTreeSet;

/// Which expert a full cache evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The least recently used.
    Lru,
    /// The one with the fewest visits so far; among equals the least recently used.
    Lfu,
    /// The one whose layer comes up last, and within a layer the least recently used: a token passes the layers in
    /// order, so the layers just passed, which LRU keeps, are needed last. The idea is that of "Least-Stale" in
    /// SpecMD (<https://arxiv.org/abs/2602.03921>), whose details may differ.
    LeastStale,
    /// The one whose next visit is furthest away: the optimum, which needs to know the future (Belady,
    /// <https://doi.org/10.1147/sj.52.0078>).
    Belady,
}

impl Policy {
    /// All policies, the optimum last.
    pub const ALL: [Self; 4] = [Self::Lru, Self::Lfu, Self::LeastStale, Self::Belady];
}

/// A sequence of expert visits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visits {
    /// Number of the expert of each visit, counted over all layers.
    experts: Vec<u32>,
    /// The layer of every expert.
    layers: Vec<u32>,
}

impl Visits {
    /// An empty sequence for a model whose layers have these numbers of experts.
    pub fn new(experts_by_layer: &[usize]) -> Self {
        let layers = (0..).zip(experts_by_layer);
        let layers = layers.flat_map(|(layer, &experts)| std::iter::repeat_n(layer, experts));
        Self {
            layers: layers.collect(),
            ..Self::default()
        }
    }

    /// Adds a visit.
    ///
    /// # Panics
    ///
    /// If there is no such expert.
    pub fn push(&mut self, expert: u32) {
        assert!((expert as usize) < self.layers.len());
        self.experts.push(expert);
    }

    /// Number of visits.
    pub fn len(&self) -> usize {
        self.experts.len()
    }

    /// Whether there are no visits.
    pub fn is_empty(&self) -> bool {
        self.experts.is_empty()
    }

    /// Number of experts of the model.
    pub fn experts(&self) -> usize {
        self.layers.len()
    }

    /// For each visit, the index of the expert's next visit; `usize::MAX` if there is none.
    fn next_visits(&self) -> Vec<usize> {
        let mut next_of = vec![usize::MAX; self.experts()];
        let mut next = vec![usize::MAX; self.len()];
        for (at, &expert) in self.experts.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut next_of[expert as usize], at);
        }
        next
    }
}

/// Number of visits that find their expert in a cache of `size` experts.
///
/// # Panics
///
/// If `size` is 0.
pub fn hits(visits: &Visits, policy: Policy, size: usize) -> u64 {
    assert!(size > 0, "a cache holds an expert");
    match policy {
        Policy::Lru => ranked(visits, size, |visit| (visit.at as u64, 0)),
        Policy::Lfu => ranked(visits, size, |visit| (visit.count, visit.at as u64)),
        Policy::Belady => {
            let next = visits.next_visits();
            ranked(visits, size, |visit| (u64::MAX - next[visit.at] as u64, 0))
        }
        Policy::LeastStale => least_stale(visits, size),
    }
}

/// One visit of an expert.
struct Visit {
    /// Index of the visit.
    at: usize,
    /// Number of visits of this expert so far, this one included.
    count: u64,
}

/// Replays a policy that ranks an expert at each visit and evicts the lowest rank.
fn ranked(visits: &Visits, size: usize, rank: impl Fn(Visit) -> (u64, u64)) -> u64 {
    let mut counts = vec![0; visits.experts()];
    let mut ranks: Vec<Option<(u64, u64)>> = vec![None; visits.experts()];
    let mut cached = BTreeSet::new();
    let mut hits = 0;
    for (at, &expert) in visits.experts.iter().enumerate() {
        let which = expert as usize;
        counts[which] += 1;
        match ranks[which].take() {
            Some(rank) => {
                hits += 1;
                cached.remove(&(rank, expert));
            }
            None if cached.len() == size => {
                if let Some((_, lowest)) = cached.pop_first() {
                    ranks[lowest as usize] = None;
                }
            }
            None => {}
        }
        let rank = rank(Visit {
            at,
            count: counts[which],
        });
        ranks[which] = Some(rank);
        cached.insert((rank, expert));
    }
    hits
}

fn least_stale(visits: &Visits, size: usize) -> u64 {
    let layers = visits.layers.last().map_or(0, |&last| last as usize + 1);
    // per layer, the cached experts with their last visits
    let mut cached: Vec<Vec<(usize, u32)>> = vec![Vec::new(); layers];
    let (mut held, mut hits) = (0, 0);
    for (at, &expert) in visits.experts.iter().enumerate() {
        let layer = visits.layers[expert as usize] as usize;
        if let Some(found) = cached[layer].iter_mut().find(|found| found.1 == expert) {
            found.0 = at;
            hits += 1;
            continue;
        }
        if held == size {
            give_up_stalest(&mut cached, layer);
            held -= 1;
        }
        cached[layer].push((at, expert));
        held += 1;
    }
    hits
}

/// Evicts an expert when one of `layer` is loaded.
fn give_up_stalest(cached: &mut [Vec<(usize, u32)>], layer: usize) {
    // the current layer comes up again last, the one before it second to last
    let mut layers = (0..=layer).rev().chain((layer + 1..cached.len()).rev());
    let Some(stalest) = layers.find(|&layer| !cached[layer].is_empty()) else {
        return;
    };
    let members = cached[stalest].iter().enumerate();
    if let Some((place, _)) = members.min_by_key(|(_, (visit, _))| *visit) {
        cached[stalest].swap_remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn of_one_layer(experts: &[u32]) -> Visits {
        let mut visits = Visits::new(&[5]);
        experts.iter().for_each(|&expert| visits.push(expert));
        visits
    }

    /// Random tokens with preferences, through layers of different numbers of experts.
    fn random(seed: u64) -> Visits {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let by_layer = [4, 3, 6];
        let mut visits = Visits::new(&by_layer);
        for token in 0..60 {
            let mut first = 0;
            for experts in by_layer {
                for _ in 0..rng.random_range(0..3) {
                    let habit = rng.random_bool(0.5);
                    let which = if habit {
                        token / 20
                    } else {
                        rng.random_range(0..9)
                    };
                    visits.push(first + which % experts as u32);
                }
                first += experts as u32;
            }
        }
        visits
    }

    /// The policy as defined: every miss examines all cached experts.
    fn slow(visits: &Visits, policy: Policy, size: usize) -> u64 {
        let mut cached: Vec<u32> = Vec::new();
        let mut hits = 0;
        let layers = visits.layers.iter().max().map_or(0, |&last| last + 1);
        for (at, &expert) in visits.experts.iter().enumerate() {
            if cached.contains(&expert) {
                hits += 1;
                continue;
            }
            if cached.len() == size {
                let before = &visits.experts[..at];
                let last = |of: u32| before.iter().rposition(|&it| it == of);
                let count = |of: u32| before.iter().filter(|&&it| it == of).count();
                let next = |of: u32| {
                    let mut later = visits.experts[at..].iter();
                    later.position(|&it| it == of).unwrap_or(usize::MAX)
                };
                let here = visits.layers[expert as usize];
                let until = |of: u32| match visits.layers[of as usize] {
                    layer if layer > here => layer - here,
                    layer => layer + layers - here,
                };
                let places = 0..cached.len();
                let given_up = match policy {
                    Policy::Lru => places.min_by_key(|&place| last(cached[place])),
                    Policy::Lfu => places.min_by_key(|&place| {
                        let of = cached[place];
                        (count(of), last(of))
                    }),
                    Policy::LeastStale => places.min_by_key(|&place| {
                        let of = cached[place];
                        (layers - until(of), last(of))
                    }),
                    Policy::Belady => places.max_by_key(|&place| next(cached[place])),
                };
                cached.swap_remove(given_up.unwrap());
            }
            cached.push(expert);
        }
        hits
    }

    #[test]
    fn short_traces_hit_what_a_hand_counts() {
        // Belady's own example of a reference string, in a cache of three
        let visits = of_one_layer(&[0, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4]);
        assert_eq!(hits(&visits, Policy::Lru, 3), 2);
        assert_eq!(hits(&visits, Policy::Lru, 4), 4);
        assert_eq!(hits(&visits, Policy::Belady, 3), 5);
        // 0 is visited twice and stays, 1 and 2 take each other's place
        let visits = of_one_layer(&[0, 0, 1, 2, 0, 1]);
        assert_eq!(hits(&visits, Policy::Lfu, 2), 2);
        assert_eq!(hits(&visits, Policy::Lru, 2), 1);
    }

    #[test]
    fn a_round_through_the_layers_defeats_lru_but_not_least_stale() {
        let mut visits = Visits::new(&[1, 1, 1, 1]);
        for _ in 0..10 {
            (0..4).for_each(|layer| visits.push(layer));
        }
        assert_eq!(hits(&visits, Policy::Lru, 3), 0);
        let least_stale = hits(&visits, Policy::LeastStale, 3);
        assert_eq!(least_stale, hits(&visits, Policy::Belady, 3));
        assert!(least_stale > 20, "{least_stale}");
    }

    #[test]
    fn every_policy_hits_what_its_slow_form_hits() {
        for seed in 0..12 {
            let visits = random(seed);
            for size in 1..=13 {
                for policy in Policy::ALL {
                    let (fast, slow) = (hits(&visits, policy, size), slow(&visits, policy, size));
                    assert_eq!(fast, slow, "{policy:?} of {size}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn nothing_hits_more_than_beladys_optimum() {
        for seed in 0..200 {
            let visits = random(seed);
            for size in 1..=13 {
                let best = hits(&visits, Policy::Belady, size);
                for policy in Policy::ALL {
                    let found = hits(&visits, policy, size);
                    assert!(
                        found <= best,
                        "{policy:?} of {size}, seed {seed}: {found} > {best}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_cache_of_all_experts_misses_each_once() {
        let visits = random(1);
        let mut seen = visits.experts.clone();
        seen.sort_unstable();
        seen.dedup();
        for policy in Policy::ALL {
            assert_eq!(
                hits(&visits, policy, 13),
                (visits.len() - seen.len()) as u64
            );
        }
    }
}
