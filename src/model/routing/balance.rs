//! Auxiliary-loss-free (ALF) load balancing, and the sequence-wise loss that may go with it.
//!
//! Wang et al. (<https://arxiv.org/abs/2408.15664>); DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>),
//! section 2.1.2. With domains, the target of an expert is what the tags of the counted tokens ask of it.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Routing;
use super::domain::{DomainConfig, DomainMode, TAGS};
use super::stats::LoadCounts;

/// How far rounding may move a target, in parts of it: an expert that is on target stays there.
const ROUNDING: f64 = 1e-9;

/// The load that balancing aims at, `t_e = sum_d N_d k pi_d(e)`, for every expert.
pub fn target_load(counts: &LoadCounts, domains: &DomainConfig) -> Vec<f64> {
    if domains.mode == DomainMode::Off {
        // at once, not tag by tag: a mean that is a whole number has to be that number
        let assignments = counts.total().iter().sum::<u64>() as f64;
        return vec![assignments / counts.experts() as f64; counts.experts()];
    }
    let mut target = vec![0.0; counts.experts()];
    for tag in 0..TAGS {
        let assignments = counts.of_tag(tag).iter().sum::<u64>() as f64;
        if assignments == 0.0 {
            continue;
        }
        let share = domains.target_share(tag, counts.experts());
        for (target, share) in target.iter_mut().zip(share) {
            *target += assignments * share;
        }
    }
    target
}

/// Moves the bias of every underloaded expert up by `speed`, of every overloaded one down, and
/// re-centers it to zero mean.
///
/// # Panics
///
/// If the lengths differ.
pub fn rebalance(bias: &mut [f32], load: &[u64], target: &[f64], speed: f64) {
    assert_eq!((bias.len(), bias.len()), (load.len(), target.len()));
    let moved = bias
        .iter()
        .zip(load)
        .zip(target)
        .map(|((&bias, &load), &target)| {
            let missing = target - load as f64;
            let direction = match missing.abs() <= ROUNDING * target {
                true => 0.0,
                false => missing.signum(),
            };
            f64::from(bias) + speed * direction
        });
    let moved: Vec<f64> = moved.collect();
    let mean = moved.iter().sum::<f64>() / moved.len() as f64;
    for (bias, moved) in bias.iter_mut().zip(moved) {
        *bias = (moved - mean) as f32;
    }
}

/// How far the most overloaded expert is above its target, `max_e n_e / t_e - 1`.
pub fn max_violation(load: &[u64], target: &[f64]) -> f64 {
    load.iter()
        .zip(target)
        .filter(|&(_, &target)| target > 0.0)
        .map(|(&load, &target)| load as f64 / target - 1.0)
        .fold(0.0, f64::max)
}

/// Sum over the rows of a batch of the sequence-wise balance loss, `sum_e f_e P_e`, without its factor.
///
/// DeepSeek-V3, equations 17 to 20: `f_e` is the load of expert `e` relative to an even one, `P_e` its mean
/// normalized affinity, both over the counted tokens of a row.
///
/// # Shapes
///
/// - routing: of `batch * seq` tokens; counted: `[batch, seq]`, one for tokens that count, else zero
/// - output: `[1]`
pub fn sequence_loss<B: Backend>(routing: &Routing<B>, counted: Tensor<B, 2>) -> Tensor<B, 1> {
    let [batch, seq] = counted.dims();
    let [_, experts] = routing.scores.dims();
    let [_, k] = routing.indices.dims();
    let tokens = counted.clone().sum_dim(1).clamp_min(1.0);
    let counted = counted.reshape([batch, seq, 1]);
    let per_row = |tensor: Tensor<B, 2>| {
        (tensor.reshape([batch, seq, experts]) * counted.clone())
            .sum_dim(1)
            .reshape([batch, experts])
            / tokens.clone()
    };

    let chosen = super::stats::choices(routing.indices.clone(), experts).detach();
    let load = per_row(chosen).mul_scalar(experts as f64 / k as f64);
    let affinity = routing.scores.clone() / (routing.scores.clone().sum_dim(1) + 1e-20);
    (load * per_row(affinity)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overloaded_experts_lose_bias_and_its_mean_stays_zero() {
        let mut bias = [0.0f32; 4];
        rebalance(&mut bias, &[9, 1, 1, 1], &[3.0; 4], 1e-3);
        assert_eq!(bias, [-1.5e-3, 0.5e-3, 0.5e-3, 0.5e-3]);
    }

    #[test]
    fn an_expert_on_target_does_not_move_before_centering() {
        let mut bias = [0.0f32; 3];
        rebalance(&mut bias, &[4, 2, 3], &[3.0; 3], 1e-3);
        assert_eq!(bias, [-1e-3, 1e-3, 0.0]);
    }

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

    /// Counts whose targets, summed tag by tag, are not quite the whole number that they are.
    fn three_tags() -> LoadCounts {
        let mut counts = LoadCounts::new(20);
        for (tag, assignments) in [(0, 1017), (3, 571), (10, 332)] {
            counts.add(tag, 0, assignments);
        }
        counts
    }

    #[test]
    fn rounding_of_a_target_moves_no_bias() {
        let mut bias = [0.0f32; 2];
        rebalance(&mut bias, &[96, 96], &[96.0 + 1e-13, 96.0 - 1e-13], 1e-3);
        assert_eq!(bias, [0.0; 2]);
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
