//! Selection of the experts that stay.

use std::collections::BTreeMap;

use super::activity::Activities;
use super::criterion::Criterion;
use super::place::Place;
use crate::domain::Domain;
use crate::model::routing::domain::DomainMode;
use crate::model::{ModelConfig, ModelConfigError};

/// The experts that stay, equally many in every layer.
///
/// If domains influence the router, one table assigns experts of all layers to domains. Every layer therefore keeps
/// equally many experts of each domain, in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Configuration of the pruned model.
    pub config: ModelConfig,
    /// Original numbers of the experts that stay in each layer, in their new order.
    pub experts: BTreeMap<Place, Vec<usize>>,
}

/// Experts cannot be removed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KeptError {
    /// No layer has experts.
    #[error("the model is dense: there are no experts to leave out")]
    Dense,
    /// Fewer experts than a token visits, or not fewer than there are.
    #[error(
        "{keep} experts are to be kept, expected {k} to {}: the model has {experts}, and a token visits {k}",
        experts - 1
    )]
    Count {
        /// Requested number of experts.
        keep: usize,
        /// Number of experts of the model.
        experts: usize,
        /// Number of experts that a token visits.
        k: usize,
    },
    /// Experts are chosen by groups.
    #[error(
        "the router chooses among {0} groups of experts, which must stay equal: experts cannot be left out one by one"
    )]
    Groups(usize),
    /// Experts grow in number by mitosis.
    #[error(
        "its experts grow in number, and its routers have free places: export it, and prune what was exported"
    )]
    Grows,
    /// The pruned configuration is invalid.
    #[error("without the others the model is none: {0}")]
    Config(#[from] ModelConfigError),
}

impl Kept {
    /// Checks that `keep` experts per layer can be kept.
    ///
    /// # Errors
    ///
    /// The reason why they cannot.
    pub fn check(config: &ModelConfig, keep: usize) -> Result<(), KeptError> {
        let Some(moe) = &config.moe else {
            return Err(KeptError::Dense);
        };
        let (experts, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
        if !(k..experts).contains(&keep) {
            return Err(KeptError::Count { keep, experts, k });
        }
        match moe.router.n_group {
            1 if moe.router.initial_experts.is_some() => Err(KeptError::Grows),
            1 => Ok(()),
            groups => Err(KeptError::Groups(groups)),
        }
    }

    /// Chooses the `keep` experts per layer with the largest worth.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    pub fn choose(
        config: &ModelConfig,
        activities: &Activities,
        keep: usize,
        criterion: Criterion,
        seed: u64,
    ) -> Result<Self, KeptError> {
        Self::check(config, keep)?;
        let mut lots = Criterion::lots(seed);
        let class = |expert: usize| match config.domains.mode {
            DomainMode::Off => 0,
            DomainMode::Soft | DomainMode::Hard => config.domains.domain_of(expert).index(),
        };
        let ranked: Vec<(Place, Vec<Ranked>)> = activities
            .iter()
            .map(|(place, activity)| {
                let worth = criterion.worth(activity, &mut lots);
                (*place, rank(&worth, class))
            })
            .collect();
        let quotas = quotas(ranked.iter().map(|(_, ranked)| ranked.as_slice()), keep);
        let experts = ranked.iter().map(|(place, ranked)| {
            let best = |(class, quota): (usize, &usize)| {
                let mut best: Vec<usize> = of_class(ranked, class)
                    .take(*quota)
                    .map(|ranked| ranked.expert)
                    .collect();
                best.sort_unstable();
                best
            };
            (*place, quotas.iter().enumerate().flat_map(best).collect())
        });
        let experts = experts.collect();
        let mut config = config.clone();
        if config.domains.mode != DomainMode::Off {
            let of_class = |(class, quota): (usize, &usize)| vec![Domain::ALL[class]; *quota];
            let table = quotas.iter().enumerate().flat_map(of_class).collect();
            config.domains.expert_domains = Some(table);
        }
        if let Some(moe) = &mut config.moe {
            moe.n_routed_experts = keep;
        }
        config.validate()?;
        Ok(Self { config, experts })
    }
}

/// An expert with its class (domain) and worth.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    expert: usize,
    class: usize,
    worth: f64,
}

/// The experts of a layer, in order of decreasing worth.
fn rank(worth: &[f64], class: impl Fn(usize) -> usize) -> Vec<Ranked> {
    let each = worth.iter().enumerate().map(|(expert, &worth)| Ranked {
        expert,
        class: class(expert),
        worth,
    });
    let mut ranked: Vec<Ranked> = each.collect();
    ranked.sort_by(|left, right| right.worth.total_cmp(&left.worth));
    ranked
}

fn of_class(ranked: &[Ranked], class: usize) -> impl Iterator<Item = &Ranked> {
    ranked.iter().filter(move |ranked| ranked.class == class)
}

/// Number of experts of each class that stay in every layer, with the largest total worth.
///
/// A greedy choice is optimal: within a class, worth never increases from one expert to the next.
fn quotas<'a>(layers: impl Iterator<Item = &'a [Ranked]> + Clone, keep: usize) -> Vec<usize> {
    let mut quotas = vec![0; Domain::COUNT];
    for _ in 0..keep {
        let gain = |class: usize| -> Option<f64> {
            let next = |ranked| {
                of_class(ranked, class)
                    .nth(quotas[class])
                    .map(|it| it.worth)
            };
            layers.clone().map(next).sum()
        };
        let classes = (0..quotas.len()).filter_map(|class| Some((class, gain(class)?)));
        // of equal gains, the first class wins
        let best = classes.reduce(|best, next| if next.1 > best.1 { next } else { best });
        if let Some((class, _)) = best {
            quotas[class] += 1;
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experiment;
    use crate::surgery::activity::Activity;

    fn activities(worths: &[&[u64]]) -> Activities {
        let activity = |worth: &&[u64]| Activity {
            read: 11,
            tokens: worth.to_vec(),
            given: vec![1.0; worth.len()],
        };
        let places = (0..).map(Place::Layer);
        places.zip(worths.iter().map(activity)).collect()
    }

    fn config(experts: usize, mode: DomainMode) -> ModelConfig {
        let mut config = Experiment::preset("tiny").unwrap().model;
        config.domains.mode = mode;
        config.moe.as_mut().unwrap().n_routed_experts = experts;
        config
    }

    #[test]
    fn without_domains_every_layer_keeps_its_best() {
        let seen = activities(&[&[1, 5, 2, 9], &[8, 1, 7, 0]]);
        let config = config(4, DomainMode::Off);
        let kept = Kept::choose(&config, &seen, 2, Criterion::Load, 0).unwrap();
        assert_eq!(kept.experts[&Place::Layer(0)], [1, 3]);
        assert_eq!(kept.experts[&Place::Layer(1)], [0, 2]);
        assert_eq!(kept.config.moe.unwrap().n_routed_experts, 2);
        assert_eq!(kept.config.domains.expert_domains, None);
    }

    #[test]
    fn with_domains_all_layers_keep_as_many_of_each_in_one_order() {
        // experts 0 and 10, 1 and 11 ... share a domain
        let mut first = [1u64; 20];
        let mut second = [1u64; 20];
        (first[3], first[13], first[4]) = (50, 40, 30);
        (second[3], second[13], second[14]) = (40, 50, 90);
        let seen = activities(&[&first, &second]);
        let config = config(20, DomainMode::Soft);
        let kept = Kept::choose(&config, &seen, 3, Criterion::Load, 0).unwrap();
        let (three, four) = (Domain::ALL[3], Domain::ALL[4]);
        assert_eq!(kept.experts[&Place::Layer(0)], [3, 13, 4]);
        assert_eq!(kept.experts[&Place::Layer(1)], [3, 13, 14]);
        let table = kept.config.domains.expert_domains.unwrap();
        assert_eq!(table, [three, three, four]);
    }

    /// Compares the greedy quotas with all possible ones.
    #[test]
    fn quotas_keep_the_most_worth_that_can_be_kept() {
        let worths: [[f64; 6]; 2] = [
            [0.3, 0.1, 0.2, 0.05, 0.25, 0.1],
            [0.05, 0.4, 0.1, 0.2, 0.05, 0.2],
        ];
        let layers = worths.map(|worth| rank(&worth, |expert| expert % 2));
        let worth = |quotas: &[usize]| -> f64 {
            let of = |ranked: &Vec<Ranked>| -> f64 {
                let best = |class: usize| of_class(ranked, class).take(quotas[class]);
                (0..2).flat_map(best).map(|ranked| ranked.worth).sum()
            };
            layers.iter().map(of).sum()
        };
        for keep in 1..6 {
            let found = quotas(layers.iter().map(Vec::as_slice), keep);
            assert_eq!(found.iter().sum::<usize>(), keep);
            let possible = (keep.saturating_sub(3)..=keep.min(3)).map(|even| [even, keep - even]);
            let best = possible.map(|quotas| worth(&quotas)).fold(0.0, f64::max);
            assert!((worth(&found) - best).abs() < 1e-12, "{keep}: {found:?}");
        }
    }

    #[test]
    fn what_cannot_be_left_out_is_refused_with_the_reason() {
        let config = config(20, DomainMode::Off);
        let message = |keep| Kept::check(&config, keep).map_err(|error| error.to_string());
        let k = config.moe.as_ref().unwrap().num_experts_per_tok;
        assert_eq!(message(k), Ok(()));
        assert_eq!(
            message(1).unwrap_err(),
            "1 experts are to be kept, expected 2 to 19: the model has 20, and a token visits 2"
        );
        assert!(message(20).is_err());
        let mut dense = config.clone();
        dense.moe = None;
        assert_eq!(Kept::check(&dense, 3), Err(KeptError::Dense));
        let mut grouped = config;
        grouped.moe.as_mut().unwrap().router.n_group = 4;
        assert_eq!(Kept::check(&grouped, 3), Err(KeptError::Groups(4)));
    }
}
