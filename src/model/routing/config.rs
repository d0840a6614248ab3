//! Configuration of a [`Router`](super::Router).

use serde::{Deserialize, Serialize};

use super::balance::{LossFactors, Rule};
use super::codons::CodonConfig;
use super::cosine::Similarity;
use super::gates::GateRule;
use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::feed_forward::moe::MoeConfig;

/// Configuration of a [`Router`](super::Router).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// Function from logits to affinities.
    pub scoring_func: ScoringFunc,
    /// Similarity of a token and an expert's centroid, which gives the logits.
    #[serde(skip_serializing_if = "is_default")]
    pub similarity: Similarity,
    /// Whether a trained intercept of every slot is added to the logits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub intercept: bool,
    /// Function from affinities to the gates of the chosen slots.
    #[serde(skip_serializing_if = "is_default")]
    pub gate: GateRule,
    /// Number of groups of consecutive experts.
    pub n_group: usize,
    /// Number of groups from which a token may choose experts.
    pub topk_group: usize,
    /// Score by which groups are chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub group_score: GroupScore,
    /// Whether the gates of a token are normalized to sum to one.
    pub norm_topk_prob: bool,
    /// Factor applied to the gates.
    pub routed_scaling_factor: f64,
    /// Number of null experts: slots that a token may choose instead of an expert, at no cost.
    #[serde(skip_serializing_if = "is_zero")]
    pub null_experts: usize,
    /// Target for the mean number of routed experts per token, below `num_experts_per_tok`; requires null experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_target: Option<f64>,
    /// Factor of the z-loss, which keeps the logits small; 0: off.
    #[serde(skip_serializing_if = "is_none")]
    pub z_loss: f64,
    /// Factor of the mutual-information loss, which makes each token's choice sharp and the mean choice even; 0:
    /// off.
    #[serde(skip_serializing_if = "is_none")]
    pub mutual_information_loss: f64,
    /// Load-balancing rule.
    #[serde(skip_serializing_if = "is_default")]
    pub balance: Rule,
    /// Number of experts in use when training begins; the other places are filled when experts divide. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_experts: Option<usize>,
    /// How earlier tokens of a document influence the choice of later ones; absent: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codons: Option<CodonConfig>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_none(factor: &f64) -> bool {
    *factor == 0.0
}

fn is_default<T: Default + PartialEq>(part: &T) -> bool {
    *part == T::default()
}

/// Function from logits to affinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringFunc {
    /// Each expert independently (DeepSeek-V3).
    Sigmoid,
    /// Normalized over all experts (Mixtral).
    Softmax,
}

/// Score of a group of experts for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupScore {
    /// Sum of the two largest scores in the group (DeepSeek-V3).
    #[default]
    TwoBest,
    /// Largest score in the group (DeepSeek-V2).
    Best,
}

impl GroupScore {
    /// Number of experts whose scores are summed.
    pub(super) fn experts(self) -> usize {
        match self {
            Self::TwoBest => 2,
            Self::Best => 1,
        }
    }
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            scoring_func: ScoringFunc::Sigmoid,
            similarity: Similarity::default(),
            intercept: false,
            gate: GateRule::default(),
            n_group: 1,
            topk_group: 1,
            group_score: GroupScore::default(),
            norm_topk_prob: true,
            routed_scaling_factor: 1.0,
            null_experts: 0,
            k_target: None,
            z_loss: 0.0,
            mutual_information_loss: 0.0,
            balance: Rule::default(),
            initial_experts: None,
            codons: None,
        }
    }
}

impl RouterConfig {
    pub(crate) fn validate(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        let experts = moe.n_routed_experts;
        ModelConfigError::in_range("n_group", self.n_group, 1, experts)?;
        ModelConfigError::in_range("topk_group", self.topk_group, 1, self.n_group)?;
        if !(self.routed_scaling_factor > 0.0 && self.routed_scaling_factor.is_finite()) {
            return Err(ModelConfigError::NotPositive {
                field: "routed_scaling_factor".into(),
                value: self.routed_scaling_factor,
            });
        }
        self.similarity.validate()?;
        self.gate.validate(self)?;
        self.balance
            .validate()
            .map_err(|error| error.within("balance"))?;
        for (field, factor) in [
            ("z_loss", self.z_loss),
            ("mutual_information_loss", self.mutual_information_loss),
        ] {
            if factor != 0.0 {
                ModelConfigError::positive(field, factor)?;
            }
        }
        self.validate_null(moe)?;
        self.validate_growth(moe)?;
        if let Some(codons) = &self.codons {
            codons
                .validate(moe)
                .map_err(|error| error.within("codons"))?;
        }
        if self.n_group == 1 {
            return Ok(());
        }
        if !experts.is_multiple_of(self.n_group) {
            return Err(ModelConfigError::NotAMultiple {
                field: "n_routed_experts".into(),
                value: experts,
                of: self.n_group,
            });
        }
        let group = experts / self.n_group;
        let most = experts / self.group_score.experts();
        ModelConfigError::in_range("n_group", self.n_group, 1, most)?;
        ModelConfigError::in_range(
            "num_experts_per_tok",
            moe.num_experts_per_tok,
            1,
            self.topk_group * group,
        )
    }

    /// Factors of the auxiliary losses that training adds.
    pub(super) fn loss_factors(&self) -> LossFactors {
        LossFactors {
            load: match &self.balance {
                Rule::Auxiliary(rule) => rule.alpha,
                Rule::Sign | Rule::Quantile(_) => 0.0,
            },
            z: self.z_loss,
            mutual_information: self.mutual_information_loss,
        }
    }

    /// Growth needs free places, and one group only.
    fn validate_growth(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        let Some(initial) = self.initial_experts else {
            return Ok(());
        };
        let (fewest, most) = (moe.num_experts_per_tok, moe.n_routed_experts - 1);
        if fewest > most {
            return Err(ModelConfigError::Needs {
                field: "initial_experts".into(),
                needed: "`n_routed_experts` above `num_experts_per_tok`: there is no place to grow into",
            });
        }
        ModelConfigError::in_range("initial_experts", initial, fewest, most)?;
        if self.n_group > 1 {
            return Err(ModelConfigError::Needs {
                field: "initial_experts".into(),
                needed: "`n_group` 1: a new expert would change the group that it falls into",
            });
        }
        Ok(())
    }

    /// Null experts and `k_target` require each other.
    fn validate_null(&self, moe: &MoeConfig) -> Result<(), ModelConfigError> {
        let k = moe.num_experts_per_tok as f64;
        match (self.null_experts, self.k_target) {
            (0, None) => Ok(()),
            (0, Some(_)) => Err(ModelConfigError::Needs {
                field: "k_target".into(),
                needed: "`null_experts` above 0",
            }),
            (_, None) => Err(ModelConfigError::Needs {
                field: "null_experts".into(),
                needed: "`k_target`, the mean number of experts that a token is to visit",
            }),
            (null, Some(target)) => {
                ModelConfigError::in_range("null_experts", null, 1, MAX_SIZE)?;
                if !(target > 0.0 && target < k) {
                    return Err(ModelConfigError::NotBetween {
                        field: "k_target".into(),
                        value: target,
                        below: moe.num_experts_per_tok,
                    });
                }
                if self.n_group > 1 {
                    return Err(ModelConfigError::Needs {
                        field: "null_experts".into(),
                        needed: "`n_group` 1: a null expert belongs to no group",
                    });
                }
                if matches!(self.balance, Rule::Auxiliary(_)) {
                    return Err(ModelConfigError::Needs {
                        field: "null_experts".into(),
                        needed: "`balance` sign or quantile, which hold the number of experts that a token visits",
                    });
                }
                Ok(())
            }
        }
    }
}
