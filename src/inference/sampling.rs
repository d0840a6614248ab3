//! Sampling of a token from logits.
//!
//! Temperature, top-k, nucleus (Holtzman et al., <https://arxiv.org/abs/1904.09751>), min-p
//! (<https://arxiv.org/abs/2407.01082>) and the repetition penalty of CTRL
//! (<https://arxiv.org/abs/1909.05858>), in the order of Hugging Face's `generate`.
//!
//! A draw is the argmax of the logits with Gumbel noise added (Maddison et al., <https://arxiv.org/abs/1411.0030>),
//! and the noise depends only on seed, position and token. So a text depends neither on other requests nor on how it
//! was computed, and a draft chosen with this noise usually equals the final token.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::noise::Noise;

/// Sampling settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divisor of the logits; 0: always the most likely token.
    pub temperature: f64,
    /// Number of most likely tokens to keep; 0: all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens whose probabilities sum to at least this; 1: all.
    pub top_p: f64,
    /// Keep tokens whose probability is at least this fraction of the largest one; 0: all.
    pub min_p: f64,
    /// Divides positive logits of tokens that occurred before and multiplies negative ones; 1: off.
    pub repetition_penalty: f64,
    /// Seed of the noise.
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

/// A sampling setting out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{field}` is {value}, expected {expected}")]
pub struct SamplingError {
    /// The setting.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// The allowed values.
    pub expected: &'static str,
}

impl SamplingConfig {
    /// Always the most likely token.
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
    /// The first setting that is out of range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let checks = [
            (
                "temperature",
                self.temperature,
                // dividing logits by less would overflow them
                self.temperature == 0.0 || self.temperature >= 1e-6,
                "0, or 0.000001 or more",
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
                (1e-6..=1e6).contains(&self.repetition_penalty),
                "0.000001 to 1000000",
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

/// Chooses tokens. Equal seeds, positions and logits give equal tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    config: SamplingConfig,
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit after penalty and temperature.
    pub score: f64,
}

impl Sampler {
    /// Creates a sampler.
    ///
    /// # Errors
    ///
    /// The first setting that is out of range.
    pub fn new(config: SamplingConfig) -> Result<Self, SamplingError> {
        config.validate()?;
        Ok(Self { config })
    }

    /// Chooses the token after `past`.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn choose(&self, logits: &[f32], past: &[u32]) -> u32 {
        let noise = Noise::new(self.config.seed, past.len());
        if self.keeps_all() {
            return drawn(self.scored(&self.penalized(logits, past)), noise);
        }
        let candidates = self.candidates(logits, past);
        if let [only] = candidates[..] {
            return only.id;
        }
        drawn(candidates.into_iter(), noise)
    }

    /// Whether every token is a candidate.
    fn keeps_all(&self) -> bool {
        let config = &self.config;
        config.temperature > 0.0 && config.top_k == 0 && config.top_p == 1.0 && config.min_p == 0.0
    }

    /// All tokens by their logits.
    fn scored(&self, logits: &[f32]) -> impl Iterator<Item = Candidate> {
        let temperature = self.config.temperature;
        logits
            .iter()
            .enumerate()
            .map(move |(id, &logit)| Candidate {
                id: id as u32,
                score: f64::from(logit) / temperature,
            })
    }

    /// Probability of every token to follow `past`, `[vocab_size]`.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn distribution(&self, logits: &[f32], past: &[u32]) -> Vec<f64> {
        let candidates = self.candidates(logits, past);
        let highest = highest(&candidates);
        let weight = |candidate: &Candidate| (candidate.score - highest).exp();
        let total: f64 = candidates.iter().map(weight).sum();
        let mut all = vec![0.0; logits.len()];
        for candidate in &candidates {
            all[candidate.id as usize] = weight(candidate) / total;
        }
        all
    }

    /// Candidates to follow `past`; each is chosen with a probability proportional to `e^score`.
    ///
    /// # Panics
    ///
    /// If there are no logits.
    pub fn candidates(&self, logits: &[f32], past: &[u32]) -> Vec<Candidate> {
        assert!(!logits.is_empty(), "there are no logits to choose by");
        if self.config.temperature == 0.0 {
            return vec![self.likeliest(logits, past)];
        }
        let penalized = self.penalized(logits, past);
        let mut candidates: Vec<Candidate> = self.scored(&penalized).collect();
        let k = self.config.top_k;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, likelier);
            candidates.truncate(k);
        }
        if self.config.top_p < 1.0 {
            keep_nucleus(&mut candidates, self.config.top_p);
        }
        if self.config.min_p > 0.0 {
            let lowest = highest(&candidates) + self.config.min_p.ln();
            candidates.retain(|candidate| candidate.score >= lowest);
        }
        candidates
    }

    fn likeliest(&self, logits: &[f32], past: &[u32]) -> Candidate {
        let penalized = self.penalized(logits, past);
        let better = |best: usize, next: usize| {
            if penalized[next] > penalized[best] {
                next
            } else {
                best
            }
        };
        let best = (1..penalized.len()).fold(0, better);
        Candidate {
            id: best as u32,
            score: f64::from(penalized[best]),
        }
    }

    /// Logits after the repetition penalty.
    fn penalized<'a>(&self, logits: &'a [f32], past: &[u32]) -> Cow<'a, [f32]> {
        let penalty = self.config.repetition_penalty as f32;
        if penalty == 1.0 {
            return Cow::Borrowed(logits);
        }
        let mut logits = logits.to_vec();
        let mut seen = vec![false; logits.len()];
        for &id in past {
            let id = id as usize;
            if id < logits.len() && !std::mem::replace(&mut seen[id], true) {
                if logits[id] > 0.0 {
                    logits[id] /= penalty
                } else {
                    logits[id] *= penalty
                }
            }
        }
        Cow::Owned(logits)
    }
}

/// The candidate whose score with noise is highest; of equal ones the first.
fn drawn(candidates: impl Iterator<Item = Candidate>, noise: Noise) -> u32 {
    let mut best = (f64::NEG_INFINITY, None);
    for Candidate { id, score } in candidates {
        // most tokens cannot win, and their noise need not be known
        if best.1.is_some() && score + noise.bound(id) <= best.0 {
            continue;
        }
        let noisy = score + noise.of(id);
        if best.1.is_none() || noisy > best.0 {
            best = (noisy, Some(id));
        }
    }
    best.1.expect("a vocabulary has tokens")
}

/// Descending score, ties by ascending id, so that the order is unique.
fn likelier(left: &Candidate, right: &Candidate) -> Ordering {
    let by_score = right.score.total_cmp(&left.score);
    by_score.then(left.id.cmp(&right.id))
}

fn highest(candidates: &[Candidate]) -> f64 {
    let scores = candidates.iter().map(|candidate| candidate.score);
    scores.fold(f64::NEG_INFINITY, f64::max)
}

/// Keeps the most likely candidates whose probabilities sum to at least `top_p`.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    let highest = highest(candidates);
    let weight = |candidate: &Candidate| (candidate.score - highest).exp();
    let total: f64 = candidates.iter().map(weight).sum();
    // Candidates with less weight sum to less than 1 - top_p, so the nucleus contains none, and sorting is cheap.
    let lightest = (1.0 - top_p) * total / candidates.len() as f64;
    candidates.retain(|candidate| weight(candidate) >= lightest);
    candidates.sort_unstable_by(likelier);
    let mut before = 0.0;
    let last = candidates.iter().position(|candidate| {
        before += weight(candidate) / total;
        before >= top_p
    });
    if let Some(last) = last {
        candidates.truncate(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 3.0, 1.0, 2.0];

    fn drawn(config: SamplingConfig, logits: &[f32], past: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for draw in 0..4000 {
            let seed = config.seed * 4000 + draw;
            let sampler = Sampler::new(SamplingConfig {
                seed,
                ..config.clone()
            })
            .unwrap();
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
        let sampler = Sampler::new(SamplingConfig::greedy()).unwrap();
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
    fn a_draw_is_the_token_whose_score_with_noise_is_highest() {
        let logits = |draw: u64| -> Vec<f32> {
            let logit = |id: u32| Noise::new(draw, 1).of(id) as f32;
            (0..3000).map(logit).collect()
        };
        for draw in 0..200u64 {
            let temperature = [0.3, 1.0, 7.0][draw as usize % 3];
            let top_p = [1.0, 0.9][draw as usize % 2];
            let config = SamplingConfig {
                temperature,
                top_p,
                seed: draw,
                ..open()
            };
            let sampler = Sampler::new(config).unwrap();
            let (logits, past) = (logits(draw), vec![0; draw as usize % 5]);
            let noise = Noise::new(draw, past.len());
            let candidates = sampler.candidates(&logits, &past);
            let noisy = candidates
                .iter()
                .map(|it| (it.score + noise.of(it.id), it.id));
            let highest = noisy.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            assert_eq!(sampler.choose(&logits, &past), highest.1);
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
        let sampler = Sampler::new(config).unwrap();
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
