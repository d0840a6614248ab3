//! Counts of what an engine has computed, and of the experts that it visited.

use std::ops::Range;

use super::routes::{LayerLog, RouteCounts};

/// Totals since an engine began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Number of passes.
    pub passes: u64,
    /// Number of tokens that were read and kept. Rejected drafts are not among them.
    pub tokens: u64,
    /// Visits in each MoE layer, if routes are recorded; a layer has `tokens * num_experts_per_tok` in total.
    pub layers: Vec<TrafficLayer>,
}

/// Visits in one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficLayer {
    /// Number of choices of every slot.
    pub counts: RouteCounts,
    /// Number of distinct routed experts that the newest pass visited.
    pub distinct: usize,
    /// Sum of these numbers over all passes.
    pub distinct_total: u64,
}

impl Traffic {
    /// Adds a pass, of which the rows in `kept` were kept.
    pub(super) fn add(&mut self, pass: &[LayerLog], kept: &[Range<usize>]) {
        self.passes += 1;
        self.tokens += kept.iter().map(|rows| rows.len() as u64).sum::<u64>();
        if self.layers.is_empty() {
            let empty = |layer: &LayerLog| TrafficLayer {
                counts: RouteCounts {
                    experts: vec![0; layer.experts],
                    null: vec![0; layer.slots - layer.experts],
                },
                distinct: 0,
                distinct_total: 0,
            };
            self.layers = pass.iter().map(empty).collect();
        }
        for (total, layer) in self.layers.iter_mut().zip(pass) {
            let mut visited = vec![false; layer.experts];
            let k = layer.num_experts_per_tok;
            let choices = kept.iter().map(|rows| rows.start * k..rows.end * k);
            for &slot in choices.flat_map(|range| &layer.choices[range]) {
                let slot = slot as usize;
                match slot.checked_sub(layer.experts) {
                    None => {
                        total.counts.experts[slot] += 1;
                        visited[slot] = true;
                    }
                    Some(null) => total.counts.null[null] += 1,
                }
            }
            total.distinct = visited.into_iter().filter(|&it| it).count();
            total.distinct_total += total.distinct as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_rows_are_counted_and_distinct_experts_of_a_pass_once() {
        let pass = [LayerLog {
            experts: 3,
            slots: 4,
            num_experts_per_tok: 2,
            choices: vec![0, 1, 2, 3, 1, 0],
            gates: vec![0.5; 6],
        }];
        let mut traffic = Traffic::default();
        traffic.add(&pass, &[0..1, 2..3]);
        traffic.add(&pass, std::slice::from_ref(&(1..2)));
        assert_eq!((traffic.passes, traffic.tokens), (2, 3));
        let layer = &traffic.layers[0];
        assert_eq!(layer.counts.experts, [2, 2, 1]);
        assert_eq!(layer.counts.null, [1]);
        assert_eq!((layer.distinct, layer.distinct_total), (1, 2 + 1));
    }
}
