//! Expert loads over recent steps.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ledger::BalanceReport;
use crate::model::routing::balance::max_violation;

/// Number of steps over which the global MaxVio is computed.
pub const WINDOW_STEPS: usize = 20;

/// Loads and targets of the last [`WINDOW_STEPS`] steps, all with the same layers and experts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredWindow")]
pub struct LoadWindow {
    steps: VecDeque<BalanceReport>,
}

/// A window as stored in a file.
#[derive(Deserialize)]
struct StoredWindow {
    steps: VecDeque<BalanceReport>,
}

/// Error of a window whose steps belong to different models.
#[derive(Debug, thiserror::Error)]
#[error("the window of expert loads has steps of different shapes: step {step} of it {problem}")]
struct Misshapen {
    /// Index of the step, counted from 1.
    step: usize,
    problem: &'static str,
}

impl TryFrom<StoredWindow> for LoadWindow {
    type Error = Misshapen;

    fn try_from(StoredWindow { steps }: StoredWindow) -> Result<Self, Misshapen> {
        for (step, report) in (1..).zip(&steps) {
            let misshapen = |problem| Misshapen { step, problem };
            if !report.has_a_target_for_every_load() {
                return Err(misshapen("has other loads than targets"));
            }
            if !report.is_shaped_like(&steps[0]) {
                return Err(misshapen("has not the layers and experts of the first one"));
            }
        }
        Ok(Self { steps })
    }
}

impl LoadWindow {
    /// Adds a step and drops steps beyond the window. Steps with other layers or experts are dropped, too.
    pub fn push(&mut self, step: BalanceReport) {
        self.steps.retain(|earlier| earlier.is_shaped_like(&step));
        self.steps.push_back(step);
        let beyond = self.steps.len().saturating_sub(WINDOW_STEPS);
        self.steps.drain(..beyond);
    }

    /// MaxVio of the loads summed over the window, for the worst layer; `None` without MoE layers.
    pub fn max_violation(&self) -> Option<f64> {
        self.by_layer().into_iter().reduce(f64::max)
    }

    /// MaxVio of the loads summed over the window, per layer.
    pub fn by_layer(&self) -> Vec<f64> {
        let layers = self.steps.back().map_or(0, |step| step.loads.len());
        (0..layers)
            .map(|layer| {
                let loads = self.steps.iter().map(|step| step.loads[layer].as_slice());
                let targets = self.steps.iter().map(|step| step.targets[layer].as_slice());
                max_violation(
                    &sum(loads, u64::saturating_add),
                    &sum(targets, |sum, more| sum + more),
                )
            })
            .collect()
    }
}

impl BalanceReport {
    /// MaxVio of the step, for the worst layer; `None` without MoE layers.
    pub fn max_violation(&self) -> Option<f64> {
        self.loads
            .iter()
            .zip(&self.targets)
            .map(|(load, target)| max_violation(load, target))
            .reduce(f64::max)
    }

    fn is_shaped_like(&self, other: &Self) -> bool {
        let experts = |it: &Self| it.loads.iter().map(Vec::len).collect::<Vec<_>>();
        experts(self) == experts(other)
    }

    fn has_a_target_for_every_load(&self) -> bool {
        let loads = self.loads.iter().map(Vec::len);
        loads.eq(self.targets.iter().map(Vec::len))
    }
}

fn sum<'a, T>(mut rows: impl Iterator<Item = &'a [T]>, add: fn(T, T) -> T) -> Vec<T>
where
    T: Copy + 'a,
{
    let mut total = rows.next().map(<[T]>::to_vec).unwrap_or_default();
    for row in rows {
        for (total, &more) in total.iter_mut().zip(row) {
            *total = add(*total, more);
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

    #[test]
    fn a_window_with_steps_of_different_shapes_is_refused_on_reading() {
        let read = |steps: &str| {
            let window = serde_json::from_str::<LoadWindow>(&format!(r#"{{"steps": [{steps}]}}"#));
            window.map_err(|error| error.to_string())
        };
        let whole = r#"{"loads": [[1, 3]], "targets": [[2, 2]]}"#;
        let window = read(&format!("{whole}, {whole}")).unwrap();
        assert_eq!(window.by_layer(), [0.5]);
        for (other, problem) in [
            (r#"{"loads": [], "targets": []}"#, "has not the layers"),
            (
                r#"{"loads": [[1, 1, 2]], "targets": [[1, 1, 2]]}"#,
                "has not the layers and experts of the first one",
            ),
            (
                r#"{"loads": [[1, 3]], "targets": [[4]]}"#,
                "has other loads than targets",
            ),
        ] {
            let line = read(&format!("{whole}, {other}")).unwrap_err();
            assert!(line.contains(&format!("step 2 of it {problem}")), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn counts_that_no_run_has_do_not_overflow() {
        let mut window = LoadWindow::default();
        window.push(step([u64::MAX, 0]));
        window.push(step([u64::MAX, 0]));
        assert!(window.max_violation().unwrap() > 1e18);
    }

    #[test]
    fn steps_of_another_model_begin_the_window_anew() {
        let mut window = LoadWindow::default();
        window.push(step([4, 0]));
        window.push(BalanceReport {
            loads: vec![vec![1; 3]; 2],
            targets: vec![vec![1.0; 3]; 2],
            null_loads: vec![Vec::new(); 2],
        });
        assert_eq!(window.by_layer(), [0.0, 0.0]);
    }
}
