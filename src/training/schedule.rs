//! Learning-rate schedules.

use std::f64::consts::PI;

use burn::lr_scheduler::LrScheduler;
use burn::optim::LearningRate;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::out_of_range::OutOfRange;

/// Learning-rate schedule of a run; fractions refer to all steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// Warm-up, stable, decay to zero (MiniCPM, <https://arxiv.org/abs/2404.06395>).
    Wsd {
        /// Fraction of warm-up steps.
        warmup: f64,
        /// Fraction of decay steps at the end.
        decay: f64,
        /// Shape of the decay.
        #[serde(default)]
        fall: Fall,
    },
    /// Warm-up, then cosine decay.
    Cosine {
        /// Fraction of warm-up steps.
        warmup: f64,
        /// Ratio of the final to the peak learning rate.
        min_ratio: f64,
    },
}

impl ScheduleConfig {
    /// Checks the fractions.
    ///
    /// # Errors
    ///
    /// The first invalid value, by its path within this section.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        match *self {
            Self::Wsd { warmup, decay, .. } => {
                OutOfRange::fraction("warmup", warmup)?;
                OutOfRange::fraction("decay", decay)?;
                let expected = format!("at most what `warmup` = {warmup} leaves of 1");
                OutOfRange::check(warmup + decay <= 1.0, "decay", decay, expected)
            }
            Self::Cosine { warmup, min_ratio } => {
                OutOfRange::fraction("warmup", warmup)?;
                OutOfRange::fraction("min_ratio", min_ratio)
            }
        }
    }
}

/// Shape of the decay to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fall {
    /// Linear.
    #[default]
    Linear,
    /// Half a cosine.
    Cosine,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self::Wsd {
            warmup: 0.05,
            decay: 0.10,
            fall: Fall::Linear,
        }
    }
}

impl ScheduleConfig {
    /// Factor on the peak learning rate, from 0 to 1, at `step` (counted from 1) of `total`. Beyond the last step it
    /// is that of the last one.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let total = total.max(1);
        let (step, total) = (step.min(total) as f64, total as f64);
        let rise = |warmup: f64| match (warmup * total).ceil() {
            rising if rising > 0.0 => (step / rising).min(1.0),
            _ => 1.0,
        };
        let factor = match *self {
            Self::Wsd {
                warmup,
                decay,
                fall: shape,
            } => {
                let falling = (decay * total).ceil();
                // the last step still has a positive rate
                let fall = if falling > 0.0 {
                    ((total - step + 1.0) / (falling + 1.0)).min(1.0)
                } else {
                    1.0
                };
                let fall = match shape {
                    Fall::Linear => fall,
                    Fall::Cosine => (1.0 - (PI * fall).cos()) / 2.0,
                };
                rise(warmup) * fall
            }
            Self::Cosine { warmup, min_ratio } => {
                let rising = (warmup * total).ceil();
                let progress = ((step - rising) / (total - rising).max(1.0)).clamp(0.0, 1.0);
                let fall = min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + (PI * progress).cos());
                rise(warmup) * fall
            }
        };
        factor.clamp(0.0, 1.0)
    }
}

/// burn's learning-rate scheduler for a [`ScheduleConfig`]; each call is one optimizer step.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    highest: f64,
    total: u64,
    step: u64,
}

impl Schedule {
    /// A schedule of `total` steps, of which `done` are completed.
    pub fn new(config: ScheduleConfig, highest: f64, total: u64, done: u64) -> Self {
        Self {
            config,
            highest,
            total,
            step: done,
        }
    }
}

impl LrScheduler for Schedule {
    type Record<B: Backend> = usize;

    fn step(&mut self) -> LearningRate {
        self.step += 1;
        self.highest * self.config.factor(self.step, self.total)
    }

    fn to_record<B: Backend>(&self) -> usize {
        self.step as usize
    }

    fn load_record<B: Backend>(mut self, record: usize) -> Self {
        self.step = record as u64;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wsd_rises_stays_and_falls_but_not_to_zero() {
        let wsd = ScheduleConfig::default();
        let factors: Vec<f64> = (1..=100).map(|step| wsd.factor(step, 100)).collect();
        assert_eq!(factors[0], 0.2);
        assert_eq!(factors[4], 1.0);
        assert_eq!(factors[89], 1.0);
        assert!(factors[90] < 1.0 && factors[99] > 0.0);
        assert!(factors[90..].windows(2).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn cosine_ends_at_its_lowest_ratio() {
        let cosine = ScheduleConfig::Cosine {
            warmup: 0.1,
            min_ratio: 0.1,
        };
        assert_eq!(cosine.factor(10, 100), 1.0);
        assert!((cosine.factor(55, 100) - 0.55).abs() < 1e-9);
        assert!((cosine.factor(100, 100) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn no_step_of_any_run_leaves_the_range() {
        let shares = [0.0, 0.05, 0.5, 1.0];
        let pairs = || shares.map(|first| shares.map(|second| (first, second)));
        let pairs: Vec<_> = pairs().into_iter().flatten().collect();
        let of = |&(warmup, second): &(f64, f64)| {
            let wsd = |fall| ScheduleConfig::Wsd {
                warmup,
                decay: second,
                fall,
            };
            let cosine = ScheduleConfig::Cosine {
                warmup,
                min_ratio: second,
            };
            [wsd(Fall::Linear), wsd(Fall::Cosine), cosine]
        };
        for schedule in pairs.iter().flat_map(of) {
            for total in [0, 1, 2, 3, 20, 1000, u64::MAX] {
                let last = schedule.factor(total.max(1), total);
                for step in (0..40).chain([999, 1000, 1001, 100_000, u64::MAX]) {
                    let factor = schedule.factor(step, total);
                    assert!(
                        (0.0..=1.0).contains(&factor),
                        "{schedule:?}: {factor} at {step} of {total}"
                    );
                    assert!(
                        step < total.max(1) || factor == last,
                        "{schedule:?}: {step} of {total}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_schedule_resumes_where_it_was() {
        let mut whole = Schedule::new(ScheduleConfig::default(), 1e-3, 50, 0);
        for _ in 0..20 {
            whole.step();
        }
        let mut resumed = Schedule::new(ScheduleConfig::default(), 1e-3, 50, 20);
        assert_eq!(whole.step(), resumed.step());
    }
}
