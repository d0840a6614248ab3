//! Computed labels of experts: the domain whose tokens visit an expert more often than other tokens do.
//!
//! The label is found on one half of the documents and verified on the other half, which rules out the chance maximum
//! of ten lifts.

use super::information::lift;
use crate::domain::Domain;
use crate::telemetry::{ExpertLabel, ExpertName};

/// Smallest lift at which a label holds: how many times more often than all tokens the domain's tokens visit the
/// expert.
pub const MIN_LIFT: f64 = 1.5;

/// Fewest visits on held-out documents for which an expert is labelled.
pub const MIN_VISITS: u64 = 1000;

/// Visits by tokens of each domain to the experts of a layer, `[Domain::COUNT][expert]`.
pub type DomainTable = Vec<Vec<u64>>;

/// Label of every expert: found on `probe`, verified on `held_out`.
pub fn label(probe: &DomainTable, held_out: &DomainTable) -> Vec<ExpertLabel> {
    let experts = probe.iter().map(Vec::len).max().unwrap_or(0);
    (0..experts)
        .map(|expert| label_of(expert, probe, held_out))
        .collect()
}

fn label_of(expert: usize, probe: &DomainTable, held_out: &DomainTable) -> ExpertLabel {
    let lifts = Domain::ALL.into_iter().filter_map(|domain| {
        let lift = lift(probe, domain.index(), expert)?;
        Some((domain, lift))
    });
    let best = lifts.max_by(|left, right| left.1.total_cmp(&right.1));
    let visits = held_out.iter().filter_map(|row| row.get(expert)).sum();
    let held = best.and_then(|(domain, _)| lift(held_out, domain.index(), expert));
    let name = match (best, held) {
        _ if visits < MIN_VISITS => ExpertName::TooFewVisits,
        (Some((domain, found)), Some(held)) if found >= MIN_LIFT && held >= MIN_LIFT => {
            ExpertName::Domain(domain)
        }
        _ => ExpertName::Mixed,
    };
    ExpertLabel {
        expert,
        name,
        candidate: best.map(|(domain, _)| domain),
        probe_lift: best.map(|(_, lift)| lift),
        held_out_lift: held,
        held_out_visits: visits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const EXPERTS: usize = 6;

    /// Visits of tokens from three domains, which go to one of their domain's two experts with probability `share`,
    /// else anywhere.
    fn planted(share: f64, tokens: usize, seed: u64) -> DomainTable {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let mut table = vec![vec![0; EXPERTS]; Domain::COUNT];
        for token in 0..tokens {
            let domain = token % 3;
            let expert = if rng.random_bool(share) {
                2 * domain + rng.random_range(0..2usize)
            } else {
                rng.random_range(0..EXPERTS)
            };
            table[domain][expert] += 1;
        }
        table
    }

    fn names(labels: &[ExpertLabel]) -> Vec<ExpertName> {
        labels.iter().map(|label| label.name).collect()
    }

    #[test]
    fn planted_domains_are_found_again() {
        let labels = label(&planted(0.7, 30_000, 1), &planted(0.7, 30_000, 2));
        let expected = (0..EXPERTS).map(|expert| ExpertName::Domain(Domain::ALL[expert / 2]));
        assert_eq!(names(&labels), expected.collect::<Vec<_>>());
        // 0.7 / 2 + 0.3 / 6 = 0.4 of the domain, 1/6 of all
        let lift = labels[0].held_out_lift.unwrap();
        assert!((lift - 2.4).abs() < 0.1, "{lift}");
    }

    #[test]
    fn a_random_router_has_only_mixed_experts() {
        for seed in 0..20 {
            let labels = label(
                &planted(0.0, 30_000, seed),
                &planted(0.0, 30_000, seed + 100),
            );
            assert_eq!(names(&labels), [ExpertName::Mixed; EXPERTS]);
        }
    }

    #[test]
    fn what_holds_on_one_half_alone_is_no_label() {
        let labels = label(&planted(0.7, 30_000, 1), &planted(0.0, 30_000, 2));
        assert_eq!(names(&labels), [ExpertName::Mixed; EXPERTS]);
        assert!(labels[0].probe_lift.unwrap() > 2.0);
        let labels = label(&planted(0.0, 30_000, 1), &planted(0.7, 30_000, 2));
        assert_eq!(names(&labels), [ExpertName::Mixed; EXPERTS]);
        let held = labels.iter().filter_map(|label| label.held_out_lift);
        assert!(
            held.fold(0.0, f64::max) > 2.0,
            "chance found one that holds"
        );
    }

    #[test]
    fn few_visits_are_no_ground_for_a_name() {
        let labels = label(&planted(0.7, 30_000, 1), &planted(0.7, 3_000, 2));
        assert_eq!(names(&labels), [ExpertName::TooFewVisits; EXPERTS]);
    }
}
