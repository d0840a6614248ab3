//! Domain prior: the domain of a document influences the choice of experts.
//!
//! A prior table `[tag, expert]` is added to the scores of the choice. Gates do not use it, so for a fixed domain it
//! can be folded into the balance bias.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::domain::{Domain, TAGS, UNTAGGED};
use crate::model::error::ModelConfigError;
use crate::model::feed_forward::moe::MoeConfig;

/// Prior of an unreachable expert; finite, so that it survives f16 and folding into another engine's bias.
const ISOLATED: f32 = -1000.0;

/// Path of the prior's table among a model's parameters. The table follows from the configuration and takes effect only
/// with a domain.
pub const PRIOR: &str = "domain_prior.table";

/// Configuration of the domain prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainConfig {
    /// How strongly tags restrict the choice of experts.
    pub mode: DomainMode,
    /// Prior of the domain's own and of `general` experts in `soft` mode.
    pub strength: f64,
    /// Share of a domain's load that balancing assigns to its own and to `general` experts in `soft` mode.
    pub share: f64,
    /// Domain of every expert; absent: expert `e` belongs to domain `e mod 10`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_domains: Option<Vec<Domain>>,
}

/// How strongly tags restrict the choice of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainMode {
    /// Tags have no effect.
    Off,
    /// Experts of the tag's domain and of `general` are preferred.
    Soft,
    /// Experts of other domains are unreachable.
    Hard,
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self {
            mode: DomainMode::Soft,
            strength: 0.1,
            share: 0.6,
            expert_domains: None,
        }
    }
}

impl DomainConfig {
    pub(crate) fn validate(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        if let Some(table) = &self.expert_domains {
            let experts = moe.n_routed_experts;
            ModelConfigError::in_range("expert_domains.len()", table.len(), experts, experts)?;
        }
        for (field, value) in [("strength", self.strength), ("share", self.share)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(ModelConfigError::NotAFraction {
                    field: field.into(),
                    value,
                });
            }
        }
        if self.mode != DomainMode::Hard {
            return Ok(());
        }
        let initial = moe.router.initial_experts;
        for domain in Domain::ALL {
            let pool = (0..initial.unwrap_or(moe.n_routed_experts))
                .filter(|&expert| self.reachable(domain.index(), expert))
                .count();
            if pool < moe.num_experts_per_tok {
                return Err(ModelConfigError::PoolTooSmall {
                    field: "mode".into(),
                    domain,
                    pool,
                    needed: moe.num_experts_per_tok,
                });
            }
        }
        Ok(())
    }

    /// Domain of an expert.
    pub fn domain_of(&self, expert: usize) -> Domain {
        match &self.expert_domains {
            Some(table) => table[expert],
            None => Domain::ALL[expert % Domain::COUNT],
        }
    }

    /// Whether an expert belongs to the tag's domain or to `general`; true for every expert if untagged.
    pub fn in_pool(&self, tag: usize, expert: usize) -> bool {
        let of = self.domain_of(expert);
        tag == usize::from(UNTAGGED) || of == Domain::General || of.index() == tag
    }

    /// Whether tokens with this tag may choose an expert.
    fn reachable(&self, tag: usize, expert: usize) -> bool {
        let bound = self.mode == DomainMode::Hard && tag != Domain::General.index();
        !bound || self.in_pool(tag, expert)
    }

    /// Whether tokens of every tag can still choose `k` experts among those with these founders.
    pub fn suits(&self, founders: &[Option<usize>], k: usize) -> bool {
        (0..TAGS).all(|tag| {
            let open = founders.iter().flatten();
            let open = open.filter(|&&founder| self.reachable(tag, founder));
            open.count() >= k
        })
    }

    /// The prior of every tag and expert, row by row, `[TAGS, experts]`.
    pub fn prior(&self, experts: usize) -> Vec<f32> {
        let entry = |tag: usize, expert: usize| match self.mode {
            DomainMode::Off => 0.0,
            DomainMode::Soft if tag == usize::from(UNTAGGED) => 0.0,
            DomainMode::Soft if self.in_pool(tag, expert) => self.strength as f32,
            DomainMode::Soft => 0.0,
            DomainMode::Hard if self.reachable(tag, expert) => 0.0,
            DomainMode::Hard => ISOLATED,
        };
        (0..TAGS)
            .flat_map(|tag| (0..experts).map(move |expert| (tag, expert)))
            .map(|(tag, expert)| entry(tag, expert))
            .collect()
    }

    /// The prior of every tag and slot, `[TAGS, slots]`; zero for null experts.
    pub(crate) fn table(&self, moe: &MoeConfig) -> TensorData {
        let (experts, slots) = (moe.n_routed_experts, moe.slots());
        let prior = self.prior(experts);
        let row = |row: &[f32]| {
            let mut row = row.to_vec();
            row.resize(slots, 0.0);
            row
        };
        let table = prior.chunks(experts).flat_map(row).collect::<Vec<_>>();
        TensorData::new(table, [TAGS, slots])
    }

    /// Target share of every expert in the load of a tag, `pi_d`; sums to one.
    pub fn target_share(&self, tag: usize, experts: usize) -> Vec<f64> {
        self.target_share_of(tag, &(0..experts).map(Some).collect::<Vec<_>>())
    }

    /// [`target_share`](Self::target_share) of experts with the domains of their founders; `None` is a free place.
    pub fn target_share_of(&self, tag: usize, founders: &[Option<usize>]) -> Vec<f64> {
        let uniform = |open: &dyn Fn(usize) -> bool| {
            let is_open = |founder: &&Option<usize>| founder.is_some_and(open);
            let count = founders.iter().filter(is_open).count().max(1);
            let share = |founder: &Option<usize>| {
                if founder.is_some_and(open) {
                    1.0 / count as f64
                } else {
                    0.0
                }
            };
            founders.iter().map(share).collect::<Vec<_>>()
        };
        match self.mode {
            DomainMode::Off => uniform(&|_| true),
            DomainMode::Hard => uniform(&|expert| self.reachable(tag, expert)),
            DomainMode::Soft => uniform(&|_| true)
                .into_iter()
                .zip(uniform(&|expert| self.in_pool(tag, expert)))
                .map(|(all, pool)| (1.0 - self.share) * all + self.share * pool)
                .collect(),
        }
    }
}

/// Domain prior as a module.
#[derive(Module, Debug)]
pub struct DomainPrior<B: Backend> {
    /// `[TAGS, slots]`, not trained.
    pub table: Param<Tensor<B, 2>>,
}

impl<B: Backend> DomainPrior<B> {
    /// The prior of `config`; `None` if domains are off.
    pub(crate) fn init(config: &DomainConfig, moe: &MoeConfig, device: &B::Device) -> Option<Self> {
        (config.mode != DomainMode::Off).then(|| Self {
            table: Param::from_tensor(Tensor::from_data(config.table(moe), device))
                .set_require_grad(false),
        })
    }

    /// Looks up the prior of every token.
    ///
    /// # Shapes
    ///
    /// - tags: `[tokens]`, output: `[tokens, slots]`
    pub fn of(&self, tags: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        self.table.val().select(0, tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moe() -> MoeConfig {
        MoeConfig {
            n_routed_experts: 20,
            num_experts_per_tok: 2,
            moe_intermediate_size: 4,
            shared_expert_intermediate_size: None,
            shared_expert_gate: false,
            n_shared_experts: 1,
            router: Default::default(),
        }
    }

    #[test]
    fn soft_prefers_own_and_general_experts_and_leaves_untagged_alone() {
        let prior = DomainConfig::default().prior(20);
        let code = &prior[Domain::Code.index() * 20..][..20];
        for (expert, &value) in code.iter().enumerate() {
            let preferred = expert % 10 == 1 || expert % 10 == 9;
            assert_eq!(value, if preferred { 0.1 } else { 0.0 });
        }
        assert!(
            prior[Domain::COUNT * 20..]
                .iter()
                .all(|&value| value == 0.0)
        );
    }

    #[test]
    fn hard_masks_other_domains_but_never_for_general_or_untagged() {
        let config = DomainConfig {
            mode: DomainMode::Hard,
            ..Default::default()
        };
        let prior = config.prior(20);
        assert_eq!(prior[1], ISOLATED);
        assert_eq!(prior[0], 0.0);
        assert_eq!(prior[9], 0.0);
        let open = |tag: usize| prior[tag * 20..][..20].iter().all(|&value| value == 0.0);
        assert!(open(Domain::General.index()) && open(UNTAGGED.into()));
    }

    #[test]
    fn target_shares_sum_to_one_in_every_mode() {
        for mode in [DomainMode::Off, DomainMode::Soft, DomainMode::Hard] {
            let config = DomainConfig {
                mode,
                ..Default::default()
            };
            for tag in 0..TAGS {
                let sum: f64 = config.target_share(tag, 64).iter().sum();
                assert!((sum - 1.0).abs() < 1e-12, "{mode:?} {tag}: {sum}");
            }
        }
    }

    #[test]
    fn soft_share_splits_between_the_pool_and_everyone() {
        let share = DomainConfig::default().target_share(Domain::Code.index(), 20);
        assert!((share[1] - (0.4 / 20.0 + 0.6 / 4.0)).abs() < 1e-12);
        assert!((share[0] - 0.4 / 20.0).abs() < 1e-12);
    }

    #[test]
    fn hard_isolation_needs_a_pool_as_large_as_the_choice() {
        let config = DomainConfig {
            mode: DomainMode::Hard,
            ..Default::default()
        };
        let mut moe = moe();
        assert_eq!(config.validate(&moe), Ok(()));
        moe.num_experts_per_tok = 5;
        let error = config.validate(&moe).unwrap_err().within("domains");
        assert_eq!(
            error.to_string(),
            "`domains.mode` is `hard`, but domain `mathematics` may use 4 experts, expected at least `num_experts_per_tok` = 5"
        );
    }
}
