//! Quantile balancing: the bias of an expert is set so that its target share of the tokens would have chosen it.
//!
//! For token `t` and slot `e` with affinity `s` and bias `b`, let `c[t]` be the largest `s + b` that the token did
//! not choose. The *margin* `m[t, e] = c[t] - s[t, e]` is the bias at which the token would just have chosen the
//! slot. The new bias is the quantile of `m[:, e]` at the slot's target share of the tokens (Kimi K3, section 2.3.3;
//! Su, "MoE Odyssey 6"). Margins are counted in [`BINS`] bins and summed over the micro-batches of a step.

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{Choices, Goal, mean_of};
use crate::model::error::ModelConfigError;
use crate::model::routing::stats::Observed;

/// Range of margins: affinities lie between 0 and 1, biases are clamped to -1 to 1.
const LOW: f64 = -2.0;
const HIGH: f64 = 2.0;

/// Number of bins of a histogram of margins.
pub const BINS: usize = 2000;

const WIDTH: f64 = (HIGH - LOW) / BINS as f64;

/// Configuration of quantile balancing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantileRule {
    /// Weight of the old bias in the new one; 0: only the last step counts.
    pub smoothing: f64,
}

impl QuantileRule {
    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        if (0.0..1.0).contains(&self.smoothing) {
            return Ok(());
        }
        Err(ModelConfigError::NotAFraction {
            field: "smoothing".into(),
            value: self.smoothing,
        })
    }
}

/// Histogram of the margins of every slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Margins {
    /// `[slots, BINS]`, row by row.
    counts: Vec<u64>,
}

impl Margins {
    /// Reads the output of [`histogram`].
    ///
    /// # Panics
    ///
    /// If `values` is not `[slots, BINS]`.
    pub fn from_values(values: &[f32]) -> Self {
        assert!(values.len().is_multiple_of(BINS));
        Self {
            counts: values.iter().map(|&value| value.round() as u64).collect(),
        }
    }

    /// Adds the counts of another batch.
    ///
    /// # Panics
    ///
    /// If the slots differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.counts.len(), other.counts.len());
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Restricts the histograms to some slots.
    pub(in crate::model::routing) fn of_slots(&self, slots: &[usize]) -> Self {
        let of_slot = |&slot: &usize| self.counts[slot * BINS..][..BINS].iter().copied();
        Self {
            counts: slots.iter().flat_map(of_slot).collect(),
        }
    }

    /// Quantile `q` of the margins of a slot, interpolated within a bin; `None` without tokens.
    fn quantile(&self, slot: usize, q: f64) -> Option<f64> {
        let bins = &self.counts[slot * BINS..][..BINS];
        let tokens = bins.iter().sum::<u64>();
        if tokens == 0 {
            return None;
        }
        let wanted = q.clamp(0.0, 1.0) * tokens as f64;
        let mut below = 0.0;
        for (bin, &count) in bins.iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                let inside = (wanted - below) / count;
                return Some(LOW + WIDTH * (bin as f64 + inside));
            }
            below += count;
        }
        Some(HIGH)
    }
}

/// Counts margins in bins on the device; exact up to 2^24 tokens per call.
///
/// # Shapes
///
/// - margins: `[tokens, slots]`; counted: `[tokens]`, 1 for counted tokens, else 0; output: `[slots, BINS]`
pub fn histogram<B: Backend>(margins: Tensor<B, 2>, counted: Tensor<B, 1>) -> Tensor<B, 2> {
    let [tokens, slots] = margins.dims();
    let device = margins.device();
    let bins: Tensor<B, 2, Int> = margins
        .sub_scalar(LOW)
        .div_scalar(WIDTH)
        .clamp(0.0, (BINS - 1) as f64)
        .int()
        .transpose();
    let ones = counted.unsqueeze::<2>().expand([slots, tokens]);
    Tensor::zeros([slots, BINS], &device).scatter(1, bins, ones, IndexingUpdateOp::Add)
}

/// Updates the bias of every slot after a step. The mean over the routed experts becomes zero before clamping.
pub(crate) fn rebalance(
    bias: &mut [f32],
    seen: &Observed,
    goal: &Goal,
    choices: Choices,
    rule: &QuantileRule,
) {
    let Some(margins) = &seen.margins else {
        return;
    };
    let (load, null_load) = (seen.counts.total(), seen.counts.null());
    let assignments = load.iter().chain(&null_load).sum::<u64>() as f64;
    let tokens = assignments / choices.k as f64;
    let k_target = choices.k_target.unwrap_or(choices.k as f64);
    // targets refer to the observed loads; with null experts they are scaled to `k_target` per token
    let visits = goal.target.iter().sum::<f64>();
    let scale = k_target / visits;
    let null_share = (choices.k as f64 - k_target) / null_load.len().max(1) as f64;
    if tokens == 0.0 || visits == 0.0 {
        return;
    }
    for (slot, bias) in bias.iter_mut().enumerate() {
        let share = goal
            .target
            .get(slot)
            .map_or(null_share, |target| target * scale);
        if let Some(margin) = margins.quantile(slot, share) {
            let old = f64::from(*bias);
            *bias = (rule.smoothing * old + (1.0 - rule.smoothing) * margin) as f32;
        }
    }
    let experts = seen.counts.experts();
    let shift = mean_of(&bias[..experts]);
    for bias in bias {
        *bias = (f64::from(*bias) - shift).clamp(-1.0, 1.0) as f32;
    }
}
