//! Log-probabilities of the tokens of a sequence, under the model alone: before penalties, temperature and filters.

use std::cmp::Ordering;

use super::likelihood::summary;

/// Log-probabilities to report for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scoring {
    /// Number of likeliest tokens to report at each place, besides the token itself.
    pub top: usize,
    /// Whether the tokens of the prompt are scored, too. The whole prompt is read then, and every row of it runs
    /// through the head.
    pub prompt: bool,
}

/// Log-probability of a token, given the tokens before it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// The likeliest tokens with their log-probabilities, best first; of equal ones the lower id first.
    pub top: Vec<(u32, f64)>,
}

/// Scores of one sequence.
#[derive(Debug)]
pub(super) struct Scores {
    pub(super) scoring: Scoring,
    /// Scores of the prompt's tokens from the second on.
    pub(super) prompt: Vec<TokenScore>,
    pub(super) prompt_is_given: bool,
    /// Scores of the chosen tokens.
    pub(super) chosen: Vec<TokenScore>,
}

impl Scores {
    pub(super) fn new(scoring: Scoring) -> Self {
        Self {
            scoring,
            prompt: Vec::new(),
            prompt_is_given: false,
            chosen: Vec::new(),
        }
    }
}

impl TokenScore {
    /// Score of `id` under logits; `None` if a logit is not finite.
    pub(super) fn of(logits: &[f32], id: u32, top: usize) -> Option<Self> {
        let (_, log_sum) = summary(logits)?;
        let scored = |id: u32| (id, f64::from(logits[id as usize]) - log_sum);
        Some(Self {
            id,
            log_probability: scored(id).1,
            top: likeliest(logits, top).into_iter().map(scored).collect(),
        })
    }
}

/// Ids of the `count` largest logits, best first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    let better = |left: &u32, right: &u32| -> Ordering {
        let [a, b] = [left, right].map(|id| logits[*id as usize]);
        b.total_cmp(&a).then(left.cmp(right))
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, better);
        ids.truncate(count);
    }
    ids.sort_unstable_by(better);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_tokens_come_first_and_of_equal_ones_the_lower_id() {
        let logits = [0.5, 2.0, -1.0, 2.0, 1.0];
        assert_eq!(likeliest(&logits, 3), [1, 3, 4]);
        assert_eq!(likeliest(&logits, 9), [1, 3, 4, 0, 2]);
        assert!(likeliest(&logits, 0).is_empty());
    }

    #[test]
    fn log_probabilities_sum_to_one_and_nothing_is_scored_without_numbers() {
        let logits = [0.5, 2.0, -1.0];
        let all = TokenScore::of(&logits, 2, 3).unwrap();
        let sum: f64 = all.top.iter().map(|(_, log)| log.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(all.top[2], (2, all.log_probability));
        assert_eq!(TokenScore::of(&[0.5, f32::NAN], 0, 1), None);
    }
}
