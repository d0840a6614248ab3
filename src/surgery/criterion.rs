//! Criteria by which experts are ranked for pruning.

use std::fmt;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::activity::Activity;

/// How experts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Mean of `gate * ||expert(x)||` over the tokens that chose the expert (REAP,
    /// <https://arxiv.org/abs/2510.13999>).
    Reap,
    /// Sum of `gate * ||expert(x)||` over the tokens that chose the expert: its total contribution.
    Sum,
    /// Number of tokens that chose the expert.
    Load,
    /// Random order.
    Random,
}

impl Criterion {
    /// Worth of every expert of a layer, as fractions of the layer's total.
    pub(super) fn worth(self, activity: &Activity, lots: &mut SmallRng) -> Vec<f64> {
        let each = activity.tokens.iter().zip(&activity.given);
        let worth: Vec<f64> = each
            .map(|(&tokens, &given)| match self {
                Self::Reap if tokens == 0 => 0.0,
                Self::Reap => given / tokens as f64,
                Self::Sum => given,
                Self::Load => tokens as f64,
                Self::Random => lots.random::<f64>(),
            })
            .collect();
        let sum: f64 = worth.iter().sum();
        worth
            .into_iter()
            .map(|worth| worth / sum.max(f64::MIN_POSITIVE))
            .collect()
    }

    /// Random generator of one selection.
    pub(super) fn lots(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reap => "mean contribution",
            Self::Sum => "summed contribution",
            Self::Load => "load",
            Self::Random => "lot",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reap_does_not_ask_how_often_an_expert_is_chosen_and_load_nothing_else() {
        let activity = Activity {
            read: 11,
            tokens: vec![10, 1, 0],
            given: vec![10.0, 4.0, 0.0],
        };
        let worth = |criterion: Criterion| criterion.worth(&activity, &mut Criterion::lots(0));
        assert_eq!(worth(Criterion::Reap), [0.2, 0.8, 0.0]);
        assert_eq!(worth(Criterion::Sum), [10.0 / 14.0, 4.0 / 14.0, 0.0]);
        assert_eq!(worth(Criterion::Load), [10.0 / 11.0, 1.0 / 11.0, 0.0]);
        assert_eq!(worth(Criterion::Random), worth(Criterion::Random));
    }

    #[test]
    fn experts_that_no_token_chose_are_worth_nothing() {
        let activity = Activity {
            read: 11,
            tokens: vec![0, 0],
            given: vec![0.0, 0.0],
        };
        let worth = Criterion::Reap.worth(&activity, &mut Criterion::lots(0));
        assert_eq!(worth, [0.0, 0.0]);
    }
}
