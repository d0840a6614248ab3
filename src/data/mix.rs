//! Shares of the domains in a training stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::error::DataError;
use crate::domain::Domain;

/// Tolerance for sums of decimal weights.
const TOLERANCE: f64 = 1e-6;

/// Shares of the domains, by tokens.
///
/// Without weights, each domain has the share of its tokens in the data: natural proportions. With weights such as
/// `code=0.3,math=0.2`, the named domains get these shares, and the others divide the rest in natural proportions.
/// All documents of a domain are read before one repeats, so a small domain with a large weight repeats often. A
/// weight of 0 excludes a domain. Every stretch of the stream keeps to the shares as far as whole documents allow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mix {
    /// Weights in the order of the domains, without duplicates.
    weights: Vec<(Domain, f64)>,
}

/// The documents of a domain, and their share of the stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pool {
    pub(super) domain: Domain,
    /// Share of the stream's tokens; the shares of all pools sum to 1.
    pub(super) weight: f64,
    pub(super) documents: u64,
    /// Number of tokens, with the special tokens around every document.
    pub(super) tokens: u64,
}

impl Mix {
    /// Natural proportions: every document once per epoch.
    pub fn natural() -> Self {
        Self::default()
    }

    /// A mix with weights between 0 and 1 for some domains.
    ///
    /// # Errors
    ///
    /// [`DataError::Mix`] for a weight out of range, a domain named twice, or a sum above 1.
    pub fn new(weights: &[(Domain, f64)]) -> Result<Self, DataError> {
        let mut mix = Self {
            weights: weights.to_vec(),
        };
        mix.weights.sort_by_key(|&(domain, _)| domain);
        let wrong = |reason: String| DataError::Mix {
            mix: mix.to_string(),
            reason,
        };
        for &(domain, weight) in &mix.weights {
            if !(0.0..=1.0).contains(&weight) {
                return Err(wrong(format!(
                    "the weight of `{domain}` is {weight}, expected 0 to 1"
                )));
            }
        }
        if let Some(pair) = mix.weights.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong(format!("`{}` is named twice", pair[0].0)));
        }
        let sum = mix.sum();
        if sum > 1.0 + TOLERANCE {
            return Err(wrong(format!(
                "the weights sum to {sum}, expected at most 1"
            )));
        }
        Ok(mix)
    }

    /// Weight of a domain, if it is named.
    pub fn weight(&self, domain: Domain) -> Option<f64> {
        let found = self.weights.iter().find(|(named, _)| *named == domain);
        found.map(|&(_, weight)| weight)
    }

    fn sum(&self) -> f64 {
        self.weights.iter().map(|(_, weight)| weight).sum()
    }

    /// The pools of a corpus that have a positive weight.
    pub(super) fn pools(&self, corpus: &Corpus) -> Result<Vec<Pool>, DataError> {
        let present: Vec<Domain> = corpus.domains().collect();
        if let Some(&(domain, _)) = self
            .weights
            .iter()
            .find(|(domain, weight)| *weight > 0.0 && !present.contains(domain))
        {
            return Err(DataError::AbsentDomain { domain, present });
        }
        let tokens = |domain: Domain| corpus.packed_tokens(&corpus.by_domain(domain));
        let others = present
            .iter()
            .filter(|domain| self.weight(**domain).is_none());
        let others: u64 = others.map(|&domain| tokens(domain)).sum();
        let rest = 1.0 - self.sum();
        if rest > TOLERANCE && others == 0 {
            return Err(DataError::MixTooSmall { sum: self.sum() });
        }
        let pools = present.into_iter().map(|domain| Pool {
            domain,
            weight: match self.weight(domain) {
                Some(weight) => weight,
                None if rest > TOLERANCE => rest * tokens(domain) as f64 / others as f64,
                None => 0.0,
            },
            documents: corpus.by_domain(domain).documents,
            tokens: tokens(domain),
        });
        Ok(pools.filter(|pool| pool.weight > 0.0).collect())
    }
}

impl FromStr for Mix {
    type Err = DataError;

    /// Parses `code=0.3,math=0.2`; the empty string and `natural` are natural proportions.
    fn from_str(mix: &str) -> Result<Self, DataError> {
        if matches!(mix.trim(), "" | "natural") {
            return Ok(Self::natural());
        }
        let wrong = |reason: String| DataError::Mix {
            mix: mix.into(),
            reason,
        };
        let mut weights = Vec::new();
        for part in mix.split(',') {
            let (domain, weight) = part
                .split_once('=')
                .ok_or_else(|| wrong(format!("`{part}` has no `=`")))?;
            let domain = domain
                .parse::<Domain>()
                .map_err(|error| wrong(error.to_string()))?;
            let weight = weight
                .trim()
                .parse::<f64>()
                .map_err(|_| wrong(format!("`{}` is no number", weight.trim())))?;
            weights.push((domain, weight));
        }
        Self::new(&weights)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weights.is_empty() {
            return f.write_str("natural");
        }
        for (index, (domain, weight)) in self.weights.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{domain}={weight}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Mix {
    type Error = DataError;

    fn try_from(mix: String) -> Result<Self, DataError> {
        mix.parse()
    }
}

impl From<Mix> for String {
    fn from(mix: Mix) -> Self {
        mix.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::corpus;
    use super::*;

    fn message(mix: &str) -> String {
        mix.parse::<Mix>().unwrap_err().to_string()
    }

    #[test]
    fn a_mix_is_written_as_it_is_read() {
        let mix: Mix = "math = 0.2, code=0.3".parse().unwrap();
        assert_eq!(mix.weight(Domain::Code), Some(0.3));
        assert_eq!(mix.to_string(), "mathematics=0.2,code=0.3");
        let json = serde_json::to_string(&mix).unwrap();
        assert_eq!(serde_json::from_str::<Mix>(&json).unwrap(), mix);
        assert_eq!("natural".parse::<Mix>().unwrap(), Mix::natural());
        assert_eq!("".parse::<Mix>().unwrap(), Mix::natural());
    }

    #[test]
    fn a_wrong_mix_says_what_is_wrong() {
        assert!(message("code").contains("`code` has no `=`"));
        assert!(message("code=x").contains("`x` is no number"));
        assert!(message("cod=1").contains("unknown domain `cod`"));
        assert!(message("code=-1").contains("is -1, expected 0 to 1"));
        assert!(message("code=NaN").contains("is NaN, expected 0 to 1"));
        assert!(message("code=0.6,math=0.6").contains("sum to 1.2"));
        assert!(message("math=0.1,maths=0.1").contains("`mathematics` is named twice"));
    }

    #[test]
    fn domains_not_named_share_the_rest_and_zero_leaves_out() {
        let corpus = corpus(&[("code", "a"), ("law", "bb"), ("", "ccc"), ("math", "d")]);
        let pools = |mix: &str| mix.parse::<Mix>().unwrap().pools(&corpus).unwrap();

        let weights = |mix: &str| -> Vec<_> {
            let pools = pools(mix).into_iter();
            pools.map(|pool| (pool.domain, pool.weight)).collect()
        };

        // with `bos` and `eos` the documents have 3, 3, 4 and 5 tokens
        assert_eq!(
            weights("natural"),
            [
                (Domain::Mathematics, 3.0 / 15.0),
                (Domain::Code, 3.0 / 15.0),
                (Domain::Legal, 4.0 / 15.0),
                (Domain::General, 5.0 / 15.0),
            ]
        );
        assert_eq!(
            weights("code=0.25,math=0"),
            [
                (Domain::Code, 0.25),
                (Domain::Legal, 0.75 * 4.0 / 9.0),
                (Domain::General, 0.75 * 5.0 / 9.0),
            ]
        );
        assert_eq!(pools("code=0.7,math=0.3").len(), 2);
    }

    #[test]
    fn a_mix_that_the_data_cannot_give_is_an_error() {
        let corpus = corpus(&[("code", "a"), ("law", "b")]);
        let error = |mix: &str| {
            mix.parse::<Mix>()
                .unwrap()
                .pools(&corpus)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("physics=0.5"),
            "the mix names the domain `physics`, but the data has only: code, legal"
        );
        assert!(error("code=0.5,law=0.2").contains("sum to 0.7"));
        assert!(
            "physics=0,code=0.5"
                .parse::<Mix>()
                .unwrap()
                .pools(&corpus)
                .is_ok()
        );
    }
}
