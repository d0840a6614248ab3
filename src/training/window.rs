//! Expert loads over the last steps.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ledger::BalanceReport;
use crate::model::routing::balance::max_violation;

/// Steps that the global MaxVio looks back on.
pub const WINDOW_STEPS: usize = 20;

/// Loads and targets of the last [`WINDOW_STEPS`] steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadWindow {
    steps: VecDeque<BalanceReport>,
}

impl LoadWindow {
    /// Adds a step and forgets the oldest beyond the window.
    pub fn push(&mut self, step: BalanceReport) {
        self.steps.push_back(step);
        if self.steps.len() > WINDOW_STEPS {
            self.steps.pop_front();
        }
    }

    /// MaxVio of the summed loads of the window, of the worst layer; none without routed layers.
    pub fn max_violation(&self) -> Option<f64> {
        self.by_layer().into_iter().reduce(f64::max)
    }

    /// MaxVio of the summed loads of the window, layer by layer.
    pub fn by_layer(&self) -> Vec<f64> {
        let layers = self.steps.back().map_or(0, |step| step.loads.len());
        (0..layers)
            .map(|layer| {
                let loads = self.steps.iter().map(|step| step.loads[layer].as_slice());
                let targets = self.steps.iter().map(|step| step.targets[layer].as_slice());
                max_violation(&sum(loads), &sum(targets))
            })
            .collect()
    }
}

impl BalanceReport {
    /// MaxVio of the step, of the worst layer; none without routed layers.
    pub fn max_violation(&self) -> Option<f64> {
        self.loads
            .iter()
            .zip(&self.targets)
            .map(|(load, target)| max_violation(load, target))
            .reduce(f64::max)
    }
}

fn sum<'a, T>(mut rows: impl Iterator<Item = &'a [T]>) -> Vec<T>
where
    T: Copy + std::ops::AddAssign + 'a,
{
    let mut total = rows.next().map(<[T]>::to_vec).unwrap_or_default();
    for row in rows {
        for (total, &more) in total.iter_mut().zip(row) {
            *total += more;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(loads: [u64; 2]) -> BalanceReport {
        BalanceReport {
            loads: vec![loads.to_vec()],
            targets: vec![vec![2.0, 2.0]],
            null_loads: vec![Vec::new()],
        }
    }

    #[test]
    fn steps_that_lean_either_way_balance_over_the_window() {
        let mut window = LoadWindow::default();
        window.push(step([4, 0]));
        assert_eq!(window.max_violation(), Some(1.0));
        window.push(step([0, 4]));
        assert_eq!(window.max_violation(), Some(0.0));
    }

    #[test]
    fn the_window_forgets_old_steps() {
        let mut window = LoadWindow::default();
        window.push(step([4, 0]));
        for _ in 0..WINDOW_STEPS {
            window.push(step([2, 2]));
        }
        assert_eq!(window.max_violation(), Some(0.0));
    }
}
