//! Demand and gradient of each expert of a layer.

use serde::{Deserialize, Serialize};

use super::{Layer, StressRule};
use crate::model::routing::growth::Change;

/// Measurements of the experts of a layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerStress {
    /// Number of measured steps.
    steps: u64,
    /// Running mean of the demand, relative to an even load, by place.
    demand: Vec<f64>,
    /// Running mean of the squared gradient norm, relative to the layer's mean, by place.
    gradient: Vec<f64>,
    /// Number of consecutive windows with stress above the threshold, by place.
    stressed: Vec<u32>,
    /// Number of consecutive windows with demand below `idle_below`, by place.
    idle: Vec<u32>,
    /// Step of the last event.
    pub(super) last_event: u64,
}

impl LayerStress {
    /// Demand for an expert, relative to an even load.
    pub(super) fn demand(&self, expert: usize) -> f64 {
        self.demand.get(expert).copied().unwrap_or(0.0)
    }

    /// Stress of an expert, `sqrt(demand * gradient)`.
    pub(super) fn stress(&self, expert: usize) -> f64 {
        let gradient = self.gradient.get(expert).copied().unwrap_or(0.0);
        (self.demand(expert) * gradient).sqrt()
    }

    /// Adds a step to the running means.
    pub(super) fn observe(&mut self, layer: &Layer<'_>, rule: &StressRule) {
        let places = layer.roster.places().len();
        self.demand.resize(places, 0.0);
        self.gradient.resize(places, 0.0);
        self.stressed.resize(places, 0);
        self.idle.resize(places, 0);
        self.steps += 1;
        let share = 1.0 / rule.window.min(self.steps) as f64;
        let in_use: Vec<usize> = layer.roster.in_use().collect();
        let choices = layer.demand.unbiased.iter().sum::<u64>() as f64;
        let squares = |expert: usize| layer.gradients.get(expert).copied().unwrap_or(0.0);
        let mean = in_use.iter().map(|&it| squares(it)).sum::<f64>() / in_use.len() as f64;
        for &expert in &in_use {
            let chosen = layer.demand.unbiased.get(expert).copied().unwrap_or(0);
            if choices > 0.0 {
                let demand = in_use.len() as f64 * chosen as f64 / choices;
                self.demand[expert] += share * (demand - self.demand[expert]);
            }
            if mean > 0.0 {
                let gradient = squares(expert) / mean;
                self.gradient[expert] += share * (gradient - self.gradient[expert]);
            }
        }
    }

    /// Updates the numbers of consecutive stressed and idle windows.
    pub(super) fn end_window(&mut self, layer: &Layer<'_>, rule: &StressRule) {
        for expert in 0..self.demand.len() {
            let settled = layer.roster.is_settled(expert);
            let stressed = settled && self.stress(expert) > rule.threshold;
            let idle = settled && self.demand(expert) < rule.idle_below;
            let counted = |before: u32, holds: bool| if holds { before + 1 } else { 0 };
            self.stressed[expert] = counted(self.stressed[expert], stressed);
            self.idle[expert] = counted(self.idle[expert], idle);
        }
    }

    /// Experts to divide, most stressed first: at most one in eight, but at least one.
    pub(super) fn stressed(&self, layer: &Layer<'_>, rule: &StressRule) -> Vec<usize> {
        let long = |expert: &usize| self.stressed[*expert] >= rule.windows;
        let mut parents: Vec<usize> = layer.roster.in_use().filter(long).collect();
        parents.sort_by(|&one, &other| self.stress(other).total_cmp(&self.stress(one)));
        parents.truncate((layer.roster.in_use().count() / 8).max(1));
        parents
    }

    /// Experts to retire, as long as `stays` accepts the founders of the remaining ones.
    pub(super) fn idle(
        &self,
        layer: &Layer<'_>,
        rule: &StressRule,
        stays: impl Fn(&[Option<usize>]) -> bool,
    ) -> Vec<usize> {
        let mut left = layer.roster.founders();
        let mut gone = Vec::new();
        let long = |expert: &usize| self.idle[*expert] >= rule.idle_windows;
        for expert in layer.roster.in_use().filter(long) {
            let founder = left[expert].take();
            if stays(&left) {
                gone.push(expert);
            } else {
                left[expert] = founder;
            }
        }
        gone
    }

    /// Halves the measurements of a divided expert between the two, and clears those of retired ones.
    pub(super) fn inherit(&mut self, change: &Change) {
        if change.is_empty() {
            return;
        }
        self.last_event = change.step;
        for &expert in &change.retired {
            (self.demand[expert], self.gradient[expert]) = (0.0, 0.0);
            (self.stressed[expert], self.idle[expert]) = (0, 0);
        }
        for division in &change.divisions {
            let (parent, child) = (division.parent, division.child);
            self.demand[parent] /= 2.0;
            self.demand[child] = self.demand[parent];
            self.gradient[parent] /= 2.0;
            self.gradient[child] = self.gradient[parent];
            for expert in [parent, child] {
                (self.stressed[expert], self.idle[expert]) = (0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routing::growth::{Division, Roster};
    use crate::model::routing::stats::Demand;

    const RULE: StressRule = StressRule {
        window: 2,
        threshold: 1.5,
        windows: 2,
        pause: 0,
        until: 1.0,
        idle_below: 0.1,
        idle_windows: 3,
    };

    /// Measurements of a layer of 16 places, all in use unless `roster` says otherwise.
    struct Measured {
        roster: Roster,
        demand: Demand,
        gradients: Vec<f64>,
        stress: LayerStress,
    }

    impl Measured {
        fn new() -> Self {
            Self {
                roster: Roster::new(16, 16),
                demand: Demand {
                    k: 2,
                    unbiased: vec![100; 16],
                    ..Demand::default()
                },
                gradients: vec![1.0; 16],
                stress: LayerStress::default(),
            }
        }

        /// Ends a window in which the given numbers of tokens would have chosen the experts.
        fn window(&mut self, chosen: &[(usize, u64)]) {
            for &(expert, tokens) in chosen {
                self.demand.unbiased[expert] = tokens;
            }
            let layer = Layer {
                roster: &self.roster,
                demand: &self.demand,
                gradients: &self.gradients,
                k: 2,
            };
            for _ in 0..RULE.window {
                self.stress.observe(&layer, &RULE);
            }
            self.stress.end_window(&layer, &RULE);
        }

        fn layer(&self) -> Layer<'_> {
            Layer {
                roster: &self.roster,
                demand: &self.demand,
                gradients: &self.gradients,
                k: 2,
            }
        }

        fn idle(&self) -> Vec<usize> {
            self.stress.idle(&self.layer(), &RULE, |_| true)
        }

        fn stressed(&self) -> Vec<usize> {
            self.stress.stressed(&self.layer(), &RULE)
        }
    }

    #[test]
    fn an_expert_goes_that_nobody_asks_for_in_enough_windows_on_end() {
        let mut it = Measured::new();
        for _ in 0..2 {
            it.window(&[(7, 0)]);
            assert_eq!(it.idle(), [0; 0]);
        }
        // demand in between resets the count
        it.window(&[(7, 100)]);
        it.window(&[(7, 0)]);
        for _ in 0..5 {
            assert_eq!(it.idle(), [0; 0]);
            if it.stress.demand(7) < RULE.idle_below {
                break;
            }
            it.window(&[]);
        }
        it.window(&[]);
        assert_eq!(it.idle(), [0; 0]);
        it.window(&[]);
        assert_eq!(it.idle(), [7]);
        // an expert that its domain needs does not retire
        assert_eq!(it.stress.idle(&it.layer(), &RULE, |_| false), [0; 0]);
    }

    #[test]
    fn an_expert_that_keeps_away_from_its_sibling_is_not_idle() {
        let mut it = Measured::new();
        it.roster = Roster::new(16, 15);
        let division = Division {
            parent: 7,
            child: 15,
            normal: Vec::new(),
            offset: 0.0,
        };
        it.roster.divide(&division, 1);
        (0..4).for_each(|_| it.window(&[(3, 0), (7, 0), (15, 0)]));
        assert_eq!(it.idle(), [3]);
    }

    #[test]
    fn the_most_stressed_divide_first_and_one_in_eight_at_most() {
        let mut it = Measured::new();
        let asked = [(2, 900), (5, 2000), (9, 1500)];
        it.window(&asked);
        assert_eq!(it.stressed(), [0; 0]);
        it.window(&asked);
        assert_eq!(it.stressed(), [5, 9]);
        // high demand alone is no stress
        it.gradients[5] = 0.0;
        (0..8).for_each(|_| it.window(&asked));
        assert_eq!(it.stressed(), [9, 2]);
    }

    #[test]
    fn two_siblings_begin_with_half_of_what_was_measured_and_a_place_that_is_free_with_none() {
        let mut it = Measured::new();
        let asked = [(5, 600), (11, 50)];
        (0..2).for_each(|_| it.window(&asked));
        let before = it.stress.clone();
        it.stress.inherit(&Change {
            step: 4,
            retired: vec![11, 12],
            divisions: vec![Division {
                parent: 5,
                child: 12,
                normal: Vec::new(),
                offset: 0.0,
            }],
            ..Change::default()
        });
        assert_eq!((it.stress.demand(11), it.stress.stress(11)), (0.0, 0.0));
        for expert in [5, 12] {
            assert_eq!(it.stress.demand(expert), before.demand(5) / 2.0);
            assert_eq!(it.stress.stress(expert), before.stress(5) / 2.0);
        }
        assert_eq!(it.stressed(), [0; 0], "windows are counted anew");
        assert_eq!(it.stress.last_event, 4);
    }
}
