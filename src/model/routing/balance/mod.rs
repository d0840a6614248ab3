//! Load balancing of experts: the rules, their targets, and auxiliary losses.
//!
//! With domains, the target load of an expert follows from the tags of the counted tokens. Null experts are balanced
//! among themselves; `k_target` sets how often tokens choose them.

pub mod losses;
pub mod quantile;
pub mod sign;

use serde::{Deserialize, Serialize};

use super::domain::{DomainConfig, DomainMode};
use super::stats::LoadCounts;
use crate::domain::TAGS;
use crate::model::error::ModelConfigError;
use quantile::QuantileRule;

/// Load-balancing rule of a router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Auxiliary-loss-free: a bias rises by a fixed step for an underloaded expert and falls for an overloaded one
    /// (DeepSeek-V3).
    #[default]
    Sign,
    /// Sets the bias of an expert so that its target share of the last step's tokens would have chosen it.
    Quantile(QuantileRule),
    /// An auxiliary loss, without bias (Switch Transformer, Mixtral).
    Auxiliary(AuxiliaryRule),
}

/// Configuration of the auxiliary load loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuxiliaryRule {
    /// Factor of the loss, `sum_e f_e P_e` over the tokens of a step.
    pub alpha: f64,
}

impl Default for AuxiliaryRule {
    fn default() -> Self {
        Self { alpha: 0.01 }
    }
}

impl Rule {
    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        match self {
            Self::Sign => Ok(()),
            Self::Quantile(rule) => rule.validate().map_err(|error| error.within("quantile")),
            Self::Auxiliary(rule) => ModelConfigError::positive("auxiliary.alpha", rule.alpha),
        }
    }
}

/// Factors of the auxiliary [losses] of a router, each a mean per token or per assignment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossFactors {
    /// Factor of the [load loss](losses::load_loss) over all tokens of a micro-batch.
    pub load: f64,
    /// Factor of the [z-loss](losses::z_loss).
    pub z: f64,
    /// Factor of the [mutual-information loss](losses::mutual_information_loss).
    pub mutual_information: f64,
}

impl LossFactors {
    /// Whether there are no auxiliary losses.
    pub fn are_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Target of load balancing after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// Target load of every routed expert in assignments, `[experts]`.
    pub target: Vec<f64>,
    /// Step by which the sign rule changes a bias; 0 disables all rules.
    pub speed: f64,
}

/// Number of slots that a token chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choices {
    /// Slots per token, null experts included.
    pub k: usize,
    /// Target for the mean number of routed experts per token; `None` without null experts.
    pub k_target: Option<f64>,
}

/// Target load of every expert, `t_e = sum_d n_d pi_d(e)`, where `n_d` is the number of choices of routed experts by
/// tokens of domain `d` and `pi_d(e)` is the share of expert `e` in that domain.
pub fn target_load(counts: &LoadCounts, domains: &DomainConfig) -> Vec<f64> {
    if domains.mode == DomainMode::Off {
        // computed at once rather than by tag, so that a whole-number mean is exact
        let assignments = counts.total().iter().sum::<u64>() as f64;
        let each = assignments / counts.experts_in_use() as f64;
        let founders = counts.founders();
        let target = |founder: &Option<usize>| if founder.is_some() { each } else { 0.0 };
        return founders.iter().map(target).collect();
    }
    let founders = counts.founders();
    let mut target = vec![0.0; counts.experts()];
    for tag in 0..TAGS {
        let assignments = counts.of_tag(tag).iter().sum::<u64>() as f64;
        if assignments == 0.0 {
            continue;
        }
        let share = domains.target_share_of(tag, &founders);
        for (target, share) in target.iter_mut().zip(share) {
            *target += assignments * share;
        }
    }
    target
}

/// Largest relative overload, `max_e n_e / t_e - 1`, at least 0.
pub fn max_violation(load: &[u64], target: &[f64]) -> f64 {
    load.iter()
        .zip(target)
        .filter(|&(_, &target)| target > 0.0)
        .map(|(&load, &target)| load as f64 / target - 1.0)
        .fold(0.0, f64::max)
}

/// Shifts values to the given mean.
fn center(values: &mut [f32], mean: f64) {
    let now = mean_of(values);
    for value in values {
        *value = (f64::from(*value) - now + mean) as f32;
    }
}

fn mean_of(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_domains_the_target_is_the_mean() {
        let mut counts = LoadCounts::new(4);
        counts.add(10, 0, 6);
        counts.add(3, 1, 2);
        let domains = DomainConfig {
            mode: DomainMode::Off,
            ..Default::default()
        };
        assert_eq!(target_load(&counts, &domains), [2.0; 4]);
        assert_eq!(target_load(&three_tags(), &domains), [96.0; 20]);
        assert_eq!(max_violation(&counts.total(), &[2.0; 4]), 2.0);
    }

    /// Counts whose targets, summed tag by tag, differ by rounding from a whole number.
    fn three_tags() -> LoadCounts {
        let mut counts = LoadCounts::new(20);
        for (tag, assignments) in [(0, 1017), (3, 571), (10, 332)] {
            counts.add(tag, 0, assignments);
        }
        counts
    }

    #[test]
    fn with_hard_domains_the_target_lies_in_the_pool() {
        let mut counts = LoadCounts::new(10);
        counts.add(1, 1, 8);
        let domains = DomainConfig {
            mode: DomainMode::Hard,
            ..Default::default()
        };
        let target = target_load(&counts, &domains);
        assert_eq!((target[1], target[9], target[0]), (4.0, 4.0, 0.0));
    }
}
