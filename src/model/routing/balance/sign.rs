//! Auxiliary-loss-free (ALF) balancing: each bias moves by a fixed step.
//!
//! Wang et al. (<https://arxiv.org/abs/2408.15664>); DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), section
//! 2.1.2. The mean bias of the null experts is the price of visiting an expert: a controller adjusts it until a
//! token visits `k_target` experts on average.

use super::{Choices, Goal, center, mean_of};
use crate::model::routing::stats::LoadCounts;

/// Relative tolerance of a target: a load within it counts as on target.
const ROUNDING: f64 = 1e-9;

/// Change of the price per step, for each routed expert above `k_target` that a token visits.
const PRICE_SPEED: f64 = 0.02;

/// Updates the bias of every slot after a step. The mean over the routed experts becomes zero.
pub(crate) fn rebalance(bias: &mut [f32], counts: &LoadCounts, goal: &Goal, choices: Choices) {
    let (experts, null) = bias.split_at_mut(counts.experts());
    let load = counts.total();
    even_out(experts, &load, &goal.target, goal.speed);
    let Some(k_target) = choices.k_target else {
        return;
    };
    let null_load = counts.null();
    let sum = |loads: &[u64]| loads.iter().sum::<u64>() as f64;
    let (visits, skipped) = (sum(&load), sum(&null_load));
    let tokens = (visits + skipped) / choices.k as f64;
    if tokens == 0.0 {
        return;
    }
    let price = mean_of(null) + PRICE_SPEED * (visits / tokens - k_target);
    let even = vec![skipped / null.len() as f64; null.len()];
    even_out(null, &null_load, &even, goal.speed);
    center(null, price.clamp(-1.0, 1.0));
}

/// Raises the bias of every underloaded expert by `speed`, lowers that of every overloaded one, and shifts the mean
/// to zero.
///
/// # Panics
///
/// If the lengths differ.
pub fn even_out(bias: &mut [f32], load: &[u64], target: &[f64], speed: f64) {
    assert_eq!((bias.len(), bias.len()), (load.len(), target.len()));
    let moved = bias
        .iter()
        .zip(load)
        .zip(target)
        .map(|((&bias, &load), &target)| {
            let missing = target - load as f64;
            let direction = if missing.abs() <= ROUNDING * target {
                0.0
            } else {
                missing.signum()
            };
            f64::from(bias) + speed * direction
        });
    let moved: Vec<f64> = moved.collect();
    let mean = moved.iter().sum::<f64>() / moved.len() as f64;
    for (bias, moved) in bias.iter_mut().zip(moved) {
        *bias = (moved - mean) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overloaded_experts_lose_bias_and_its_mean_stays_zero() {
        let mut bias = [0.0f32; 4];
        even_out(&mut bias, &[9, 1, 1, 1], &[3.0; 4], 1e-3);
        assert_eq!(bias, [-1.5e-3, 0.5e-3, 0.5e-3, 0.5e-3]);
    }

    #[test]
    fn an_expert_on_target_does_not_move_before_centering() {
        let mut bias = [0.0f32; 3];
        even_out(&mut bias, &[4, 2, 3], &[3.0; 3], 1e-3);
        assert_eq!(bias, [-1e-3, 1e-3, 0.0]);
    }

    #[test]
    fn rounding_of_a_target_moves_no_bias() {
        let mut bias = [0.0f32; 2];
        even_out(&mut bias, &[96, 96], &[96.0 + 1e-13, 96.0 - 1e-13], 1e-3);
        assert_eq!(bias, [0.0; 2]);
    }

    /// Loads of four experts and two null experts, chosen by tokens with two slots each.
    fn counts(loads: [u64; 6]) -> LoadCounts {
        let mut counts = LoadCounts::with_null(4, 2);
        for (slot, load) in loads.into_iter().enumerate() {
            counts.add(0, slot, load);
        }
        counts
    }

    fn after(bias: [f32; 6], loads: [u64; 6]) -> [f32; 6] {
        let counts = counts(loads);
        let mean = counts.total().iter().sum::<u64>() as f64 / 4.0;
        let goal = Goal {
            target: vec![mean; 4],
            speed: 1e-3,
        };
        let choices = Choices {
            k: 2,
            k_target: Some(1.5),
        };
        let mut bias = bias;
        rebalance(&mut bias, &counts, &goal, choices);
        bias
    }

    #[test]
    fn null_experts_become_dearer_while_tokens_visit_too_few_experts_and_cheaper_while_they_visit_too_many()
     {
        // 100 tokens with 1.5 experts each are on target
        let bias = after([0.0; 6], [38, 37, 38, 37, 25, 25]);
        assert!((bias[4].abs(), bias[5].abs()) < (1e-9, 1e-9), "{bias:?}");
        // 2 experts each: the price rises by 0.02 * 0.5
        let bias = after([0.0; 6], [50, 50, 50, 50, 0, 0]);
        assert!(
            (bias[4] - 0.01).abs() < 1e-7 && (bias[5] - 0.01).abs() < 1e-7,
            "{bias:?}"
        );
        let bias = after([0.0; 6], [25, 25, 25, 25, 50, 50]);
        assert!((bias[4] + 0.01).abs() < 1e-7, "{bias:?}");
    }

    #[test]
    fn null_experts_are_balanced_among_themselves() {
        let bias = after([0.0; 6], [38, 37, 38, 37, 40, 10]);
        assert!(
            (bias[4] + 1e-3).abs() < 1e-7 && (bias[5] - 1e-3).abs() < 1e-7,
            "{bias:?}"
        );
    }
}
