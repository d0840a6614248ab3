//! Batch-aware routing: tokens that are decoded together prefer experts that one of them has already chosen.
//!
//! Token after token, `rho` is subtracted from the score of every expert that no earlier token has chosen, so that a
//! batch reads fewer distinct experts. The output of a sequence then depends on the others, so this is off by
//! default.

use std::collections::HashSet;

/// The tokens that choose jointly, and the strength of the preference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Together {
    /// Penalty of an expert that no token has chosen yet, on the scale of affinities.
    pub rho: f64,
    /// Number of tokens that choose jointly. Tokens are ordered `[tokens, groups]`, row by row.
    pub tokens: usize,
}

impl Together {
    /// Values to add to the scores of every token, `[tokens, slots]`: `-rho` or 0. Null experts are never penalized.
    ///
    /// # Shapes
    ///
    /// - scores: `[tokens, slots]`, row by row, of which the first `experts` slots are routed experts
    pub(super) fn costs(&self, scores: &[f32], [slots, experts, k]: [usize; 3]) -> Vec<f32> {
        let groups = scores.len() / slots / self.tokens;
        let rho = self.rho as f32;
        let mut costs = vec![0.0; scores.len()];
        for group in 0..groups {
            let mut is_chosen = vec![false; experts];
            for row in 0..self.tokens {
                let token = (row * groups + group) * slots;
                let costs = &mut costs[token..][..slots];
                for (cost, &is_chosen) in costs.iter_mut().zip(&is_chosen) {
                    *cost = if is_chosen { 0.0 } else { -rho };
                }
                let score = |slot: &usize| scores[token + slot] + costs[*slot];
                let mut best: Vec<usize> = (0..slots).collect();
                best.sort_by(|a, b| score(b).total_cmp(&score(a)));
                for &slot in best.iter().take(k).filter(|&&slot| slot < experts) {
                    is_chosen[slot] = true;
                }
            }
        }
        costs
    }

    /// Number of distinct experts chosen within a group, summed over all groups.
    ///
    /// # Shapes
    ///
    /// - indices: `[tokens, k]`, row by row
    pub fn distinct(&self, indices: &[i64], [k, experts]: [usize; 2]) -> u64 {
        let groups = indices.len() / k / self.tokens;
        let of_group = |group: usize| {
            let rows = 0..self.tokens;
            let chosen = rows.flat_map(|row| &indices[(row * groups + group) * k..][..k]);
            let chosen = chosen.filter(|&&slot| (slot as usize) < experts);
            chosen.collect::<HashSet<_>>().len() as u64
        };
        (0..groups).map(of_group).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Together = Together {
        rho: 0.1,
        tokens: 2,
    };

    #[test]
    fn a_token_takes_an_expert_that_was_chosen_before_it_if_that_is_nearly_as_good() {
        // two groups; expert 0 is best for the first token of both groups
        let scores = [
            [0.9, 0.1, 0.2], // row 0, group 0
            [0.9, 0.1, 0.2], // row 0, group 1
            [0.5, 0.55, 0.2],
            [0.5, 0.7, 0.2],
        ]
        .concat();
        let costs = PAIR.costs(&scores, [3, 3, 1]);
        let choice = |token: usize| {
            let score = |slot: &usize| scores[token * 3 + slot] + costs[token * 3 + slot];
            (0..3).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap()
        };
        assert_eq!([0, 1, 2, 3].map(choice), [0, 0, 0, 1]);
        assert_eq!(costs[..3], [-0.1; 3]);
        assert_eq!(costs[6..9], [0.0, -0.1, -0.1]);
    }

    #[test]
    fn null_experts_cost_nothing_and_do_not_count() {
        let costs = PAIR.costs(&[0.45, 0.4, 0.45, 0.4], [2, 1, 1]);
        assert_eq!(costs, [-0.1, 0.0, -0.1, 0.0]);
        // groups {0, 1} and {2, 0}: tokens chose (0, 2), (1, 0) and (0, 0), (1, 3)
        let indices = [0, 2, 1, 0, 0, 0, 1, 3];
        assert_eq!(PAIR.distinct(&indices, [2, 3]), 2 + 2);
        assert_eq!(PAIR.distinct(&indices, [2, 2]), 1 + 2);
    }
}
