//! Logits to a token.
//!
//! Temperature, top-k, nucleus (Holtzman et al., <https://arxiv.org/abs/1904.09751>), min-p
//! (<https://arxiv.org/abs/2407.01082>) and the repetition penalty of CTRL
//! (<https://arxiv.org/abs/1909.05858>), in the order of Hugging Face's `generate`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How a token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides the logits; 0: always the likeliest token.
    pub temperature: f64,
    /// Keep the `k` likeliest tokens; 0: all.
    pub top_k: usize,
    /// Keep the likeliest tokens that together reach this probability; 1: all.
    pub top_p: f64,
    /// Keep tokens at least this likely relative to the likeliest; 0: all.
    pub min_p: f64,
    /// Divides positive logits, and multiplies negative ones, of tokens that occurred before; 1: none.
    pub repetition_penalty: f64,
    /// Origin of the draws.
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 50,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{field}` is {value}, expected {expected}")]
pub struct SamplingError {
    /// The setting.
    pub field: &'static str,
    /// What it is.
    pub value: f64,
    /// What it may be.
    pub expected: &'static str,
}

impl SamplingConfig {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            repetition_penalty: 1.0,
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// The first that is out of range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let checks = [
            (
                "temperature",
                self.temperature,
                self.temperature >= 0.0,
                "0 or more",
            ),
            (
                "top_p",
                self.top_p,
                self.top_p > 0.0 && self.top_p <= 1.0,
                "above 0, at most 1",
            ),
            (
                "min_p",
                self.min_p,
                (0.0..=1.0).contains(&self.min_p),
                "0 to 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0,
                "above 0",
            ),
        ];
        for (field, value, holds, expected) in checks {
            if !(holds && value.is_finite()) {
                return Err(SamplingError {
                    field,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Draws tokens; equal seeds and logits give equal tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
}

/// A token that is still in the running.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
}

/// Of equals, the one with the lowest id.
fn likeliest(candidates: Vec<Candidate>) -> Candidate {
    let better = |best: Candidate, next: Candidate| match next.logit > best.logit {
        true => next,
        false => best,
    };
    let best = candidates.into_iter().reduce(better);
    best.expect("a vocabulary has tokens")
}

impl Sampler {
    /// A sampler at the beginning of its draws.
    ///
    /// # Errors
    ///
    /// A setting out of its range.
    pub fn new(config: SamplingConfig) -> Result<Self, SamplingError> {
        config.validate()?;
        let rng = ChaCha8Rng::seed_from_u64(config.seed);
        Ok(Self { config, rng })
    }

    /// Chooses the token after `past`.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn choose(&mut self, logits: &[f32], past: &[u32]) -> u32 {
        let candidates = self.candidates(logits, past);
        if self.config.temperature == 0.0 {
            return likeliest(candidates).id;
        }
        let candidates = self.in_order(candidates);
        let probabilities = self.probabilities(&candidates);
        self.draw(&candidates, &probabilities)
    }

    /// The probability of every token to follow `past`: what [`choose`](Self::choose) draws from.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn distribution(&self, logits: &[f32], past: &[u32]) -> Vec<f64> {
        let mut all = vec![0.0; logits.len()];
        let candidates = self.candidates(logits, past);
        if self.config.temperature == 0.0 {
            all[likeliest(candidates).id as usize] = 1.0;
            return all;
        }
        let candidates = self.in_order(candidates);
        let weights = self.probabilities(&candidates);
        let total: f64 = weights.iter().sum();
        for (candidate, weight) in candidates.iter().zip(weights) {
            all[candidate.id as usize] = weight / total;
        }
        all
    }

    fn candidates(&self, logits: &[f32], past: &[u32]) -> Vec<Candidate> {
        let mut logits = logits.to_vec();
        self.penalize(&mut logits, past);
        let numbered = logits.into_iter().enumerate();
        numbered
            .map(|(id, logit)| Candidate {
                id: id as u32,
                logit,
            })
            .collect()
    }

    /// The `top_k` likeliest, likeliest first.
    fn in_order(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        // ties by id, so that the order is one only
        candidates.sort_by(|l, r| r.logit.total_cmp(&l.logit).then(l.id.cmp(&r.id)));
        if self.config.top_k > 0 {
            candidates.truncate(self.config.top_k);
        }
        candidates
    }

    fn penalize(&self, logits: &mut [f32], past: &[u32]) {
        let penalty = self.config.repetition_penalty as f32;
        if penalty == 1.0 {
            return;
        }
        let mut seen = vec![false; logits.len()];
        for &id in past {
            let id = id as usize;
            if id < logits.len() && !std::mem::replace(&mut seen[id], true) {
                match logits[id] > 0.0 {
                    true => logits[id] /= penalty,
                    false => logits[id] *= penalty,
                }
            }
        }
    }

    /// Probabilities of what nucleus and min-p leave of the candidates, likeliest first; they need not sum to one.
    fn probabilities(&self, candidates: &[Candidate]) -> Vec<f64> {
        let temperature = self.config.temperature;
        let highest = f64::from(candidates[0].logit);
        let mut weights: Vec<f64> = candidates
            .iter()
            .map(|candidate| ((f64::from(candidate.logit) - highest) / temperature).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let mut before = 0.0;
        let nucleus = weights.iter().position(|weight| {
            before += weight / total;
            before >= self.config.top_p
        });
        if let Some(last) = nucleus {
            weights.truncate(last + 1);
        }
        let likely = weights
            .iter()
            .take_while(|&&weight| weight >= self.config.min_p)
            .count();
        weights.truncate(likely.max(1));
        weights
    }

    fn draw(&mut self, candidates: &[Candidate], weights: &[f64]) -> u32 {
        let mut left = self.rng.random::<f64>() * weights.iter().sum::<f64>();
        for (candidate, weight) in candidates.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return candidate.id;
            }
        }
        candidates[weights.len() - 1].id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 3.0, 1.0, 2.0];

    fn drawn(config: SamplingConfig, logits: &[f32], past: &[u32]) -> Vec<usize> {
        let mut sampler = Sampler::new(config).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.choose(logits, past) as usize] += 1;
        }
        counts
    }

    fn open() -> SamplingConfig {
        SamplingConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 3,
        }
    }

    #[test]
    fn greedy_takes_the_likeliest() {
        let mut sampler = Sampler::new(SamplingConfig::greedy()).unwrap();
        assert_eq!(sampler.choose(&LOGITS, &[1, 1]), 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let counts = drawn(open(), &LOGITS, &[]);
        let total: f64 = LOGITS.iter().map(|l| f64::from(*l).exp()).sum();
        for (count, logit) in counts.iter().zip(LOGITS) {
            let expected = 4000.0 * f64::from(logit).exp() / total;
            assert!((*count as f64 - expected).abs() < 4.0 * expected.sqrt() + 1.0);
        }
    }

    #[test]
    fn filters_leave_only_likely_tokens() {
        let only = |config: SamplingConfig, kept: &[usize]| {
            let counts = drawn(config, &LOGITS, &[]);
            for (id, count) in counts.into_iter().enumerate() {
                assert_eq!(count > 0, kept.contains(&id), "token {id}");
            }
        };
        only(SamplingConfig { top_k: 2, ..open() }, &[1, 3]);
        // the likeliest has 0.64, the next 0.24
        only(
            SamplingConfig {
                top_p: 0.6,
                ..open()
            },
            &[1],
        );
        only(
            SamplingConfig {
                top_p: 0.7,
                ..open()
            },
            &[1, 3],
        );
        only(
            SamplingConfig {
                min_p: 0.3,
                ..open()
            },
            &[1, 3],
        );
    }

    #[test]
    fn the_penalty_makes_past_tokens_less_likely_once() {
        let config = SamplingConfig {
            temperature: 0.0,
            repetition_penalty: 1.4,
            ..open()
        };
        let mut sampler = Sampler::new(config).unwrap();
        // 3.0 / 1.4 > 2.0, 3.0 / 1.4^2 < 2.0
        assert_eq!(sampler.choose(&LOGITS, &[1, 1, 1]), 1);
        assert_eq!(sampler.choose(&[-1.0, -1.1], &[0]), 1);
    }

    #[test]
    fn equal_seeds_draw_equal_tokens() {
        assert_eq!(drawn(open(), &LOGITS, &[]), drawn(open(), &LOGITS, &[]));
        let other = SamplingConfig { seed: 4, ..open() };
        assert_ne!(drawn(open(), &LOGITS, &[]), drawn(other, &LOGITS, &[]));
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let config = SamplingConfig {
            top_p: 0.0,
            ..open()
        };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "`top_p` is 0, expected above 0, at most 1"
        );
    }
}
