//! Locality of routes, which decides how well experts on a disk or in slower memory can be cached.

pub mod cache;
pub mod windows;

use rayon::prelude::*;

use super::observe::{LayerObservation, Observation};
use crate::telemetry::{CacheRecord, Locality, WindowRecord};
use cache::{Policy, Visits, hits};

/// Window lengths, in tokens.
pub const WINDOWS: [usize; 5] = [1, 4, 16, 64, 256];

/// Largest number of visits to replay.
const MOST_VISITS: usize = 1 << 19;

/// Largest number of cache sizes to replay, evenly spaced if the model has more experts than that.
const MOST_SIZES: usize = 128;

/// Locality of recorded routes: distinct experts per window, and hits of caches.
pub fn measure(observation: &Observation) -> Locality {
    let documents = observation.documents.iter();
    let documents: Vec<_> = documents.map(|it| it.tokens.clone()).collect();
    let tokens = observation.tokens() as u64;
    let windows = WINDOWS.map(|width| WindowRecord {
        tokens: width,
        distinct: of_layers(observation, |layer| {
            windows::distinct(&documents, &layer.choices, layer.k, layer.experts, width)
        }),
        if_independent: of_layers(observation, |layer| {
            windows::if_independent(&layer.visits(), tokens, width)
        }),
    });
    Locality {
        windows: windows.to_vec(),
        cache: replay(observation),
    }
}

fn of_layers<T>(observation: &Observation, f: impl Fn(&LayerObservation) -> T) -> Vec<T> {
    observation.layers.iter().map(f).collect()
}

fn replay(observation: &Observation) -> CacheRecord {
    let layers = &observation.layers;
    let by_layer: Vec<usize> = layers.iter().map(|layer| layer.experts).collect();
    let mut visits = Visits::new(&by_layer);
    let a_token: usize = layers.iter().map(|layer| layer.k).sum();
    let tokens = (MOST_VISITS / a_token.max(1)).min(observation.tokens());
    for token in 0..tokens {
        let mut first = 0;
        for layer in layers {
            let chosen = layer.choices[token * layer.k..][..layer.k].iter();
            let experts = chosen.filter(|&&slot| usize::from(slot) < layer.experts);
            experts.for_each(|&expert| visits.push(first + u32::from(expert)));
            first += layer.experts as u32;
        }
    }
    let sizes = sizes(visits.experts());
    let replay = |policy| -> Vec<u64> {
        let sizes = sizes.par_iter();
        sizes.map(|&size| hits(&visits, policy, size)).collect()
    };
    CacheRecord {
        tokens: tokens as u64,
        visits: visits.len() as u64,
        experts: visits.experts(),
        lru_hits: replay(Policy::Lru),
        lfu_hits: replay(Policy::Lfu),
        least_stale_hits: replay(Policy::LeastStale),
        belady_hits: replay(Policy::Belady),
        sizes,
    }
}

/// Cache sizes up to one that holds all experts.
fn sizes(experts: usize) -> Vec<usize> {
    let count = experts.min(MOST_SIZES);
    (1..=count)
        .map(|size| (size * experts).div_ceil(count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_of_two_layers_are_two_experts_and_null_experts_take_no_place() {
        let layer = |layer, experts, choices: [u16; 3]| LayerObservation {
            layer,
            experts,
            slots: experts + 1,
            k: 1,
            choices: choices.into(),
            gates: Vec::new(),
            affinities: Vec::new(),
            entropy: 0.0,
            inputs: Vec::new(),
            width: 0,
            stability: None,
        };
        let observation = Observation {
            ids: vec![0; 3],
            domains: vec![None; 3],
            documents: Vec::new(),
            sample: Vec::new(),
            // the third token chooses a null expert of the second layer
            layers: vec![layer(0, 2, [0, 0, 0]), layer(1, 3, [0, 0, 3])],
        };
        let cache = replay(&observation);
        assert_eq!((cache.tokens, cache.visits, cache.experts), (3, 5, 5));
        assert_eq!(cache.lru_hits, [0, 3, 3, 3, 3]);
        assert_eq!(cache.belady_hits, [0, 3, 3, 3, 3]);
    }

    #[test]
    fn sizes_end_with_all_experts_and_leave_none_out_of_a_small_model() {
        assert_eq!(sizes(5), [1, 2, 3, 4, 5]);
        assert_eq!(sizes(128).len(), 128);
        // a size is never less than its share
        let sizes_of_200 = sizes(200);
        assert_eq!((sizes_of_200[0], sizes_of_200[127]), (2, 200));
        let large = sizes(1664);
        assert_eq!((large[0], large[127], large.len()), (13, 1664, 128));
        assert!(large.is_sorted_by(|a, b| a < b));
    }
}
