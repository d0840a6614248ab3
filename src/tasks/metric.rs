//! Metrics: the score of a document, and what the scores of a task add up to.

use rayon::prelude::*;
use serde_json::Value;

use super::config::{MetricConfig, OutputType};
use super::pattern::Pattern;
use super::prompt::as_index;
use super::random::Random;
use crate::inference::Likelihood;

/// What is measured of each document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The right choice is the likeliest one.
    Acc,
    /// [`Acc`](Self::Acc) of the log-likelihoods per character.
    AccNorm,
    /// [`Acc`](Self::Acc) of the log-likelihoods per byte of UTF-8.
    AccBytes,
    /// The answer is what greedy decoding writes.
    ExactMatch,
    /// Exponential of the mean negative log-likelihood.
    Perplexity,
}

/// A metric of a task.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) higher_is_better: bool,
    ignore: Ignore,
}

/// What is left out when texts are compared.
#[derive(Debug, Default)]
struct Ignore {
    regexes: Vec<Pattern>,
    case: bool,
    punctuation: bool,
    numbers: bool,
}

const METRICS: [(&str, Kind, bool, &[OutputType]); 5] = [
    (
        "acc",
        Kind::Acc,
        true,
        &[OutputType::MultipleChoice, OutputType::Loglikelihood],
    ),
    (
        "acc_norm",
        Kind::AccNorm,
        true,
        &[OutputType::MultipleChoice],
    ),
    (
        "acc_bytes",
        Kind::AccBytes,
        true,
        &[OutputType::MultipleChoice],
    ),
    (
        "exact_match",
        Kind::ExactMatch,
        true,
        &[OutputType::MultipleChoice, OutputType::GenerateUntil],
    ),
    (
        "perplexity",
        Kind::Perplexity,
        false,
        &[OutputType::Loglikelihood],
    ),
];

impl Metric {
    /// The metrics of a task, or those that lm-evaluation-harness takes for its type.
    pub(super) fn list(
        configs: Option<&[MetricConfig]>,
        output_type: OutputType,
    ) -> Result<Vec<Self>, String> {
        if let Some(configs) = configs {
            if configs.is_empty() {
                return Err("`metric_list` is empty".into());
            }
            return configs.iter().map(|it| Self::of(it, output_type)).collect();
        }
        let defaults: &[&str] = match output_type {
            OutputType::MultipleChoice => &["acc", "acc_norm"],
            OutputType::Loglikelihood => &["perplexity", "acc"],
            OutputType::GenerateUntil => &["exact_match"],
        };
        let known = defaults.iter().filter_map(|wanted| {
            let &(name, kind, higher_is_better, _) = METRICS.iter().find(|it| it.0 == *wanted)?;
            Some(Self {
                name,
                kind,
                higher_is_better,
                ignore: Ignore::default(),
            })
        });
        Ok(known.collect())
    }

    fn of(config: &MetricConfig, output_type: OutputType) -> Result<Self, String> {
        let wanted = &config.metric;
        let fits = |it: &&(&str, Kind, bool, &[OutputType])| it.3.contains(&output_type);
        let found = METRICS.iter().filter(fits).find(|it| it.0 == wanted);
        let &(name, kind, higher_is_better, _) = found.ok_or_else(|| {
            let known: Vec<&str> = METRICS.iter().filter(fits).map(|it| it.0).collect();
            format!(
                "the metric `{wanted}` is not supported, expected {} for this `output_type`",
                known.join(", ")
            )
        })?;
        let expected = if kind == Kind::Perplexity {
            "perplexity"
        } else {
            "mean"
        };
        if let Some(found) = config.aggregation.as_deref().filter(|it| *it != expected) {
            return Err(format!(
                "the metric `{wanted}` has `aggregation: {found}`, expected `{expected}`"
            ));
        }
        let regexes = config.regexes_to_ignore.iter().flatten();
        Ok(Self {
            name,
            kind,
            higher_is_better: config.higher_is_better.unwrap_or(higher_is_better),
            ignore: Ignore {
                regexes: regexes
                    .map(|it| Pattern::parse(it))
                    .collect::<Result<_, _>>()?,
                case: config.ignore_case,
                punctuation: config.ignore_punctuation,
                numbers: config.ignore_numbers,
            },
        })
    }

    /// Score of a question with choices. `gold` are the right ones.
    pub(super) fn of_choices(
        &self,
        choices: &[String],
        scores: &[Likelihood],
        gold: &[usize],
    ) -> f64 {
        let likeliest = |length: &dyn Fn(&str) -> usize| {
            let per_unit = scores
                .iter()
                .zip(choices)
                .map(|(score, choice)| score.log_likelihood / length(choice) as f64);
            let per_unit: Vec<f64> = per_unit.collect();
            argmax(&per_unit)
        };
        let is_right = match self.kind {
            Kind::AccNorm => gold.contains(&likeliest(&|choice| choice.chars().count())),
            Kind::AccBytes => gold.contains(&likeliest(&str::len)),
            Kind::ExactMatch => gold
                .iter()
                .any(|&at| scores.get(at).is_some_and(|it| it.is_greedy)),
            Kind::Acc | Kind::Perplexity => gold.contains(&likeliest(&|_| 1)),
        };
        f64::from(u8::from(is_right))
    }

    /// Score of one continuation; for perplexity, its log-likelihood.
    pub(super) fn of_continuation(&self, score: &Likelihood) -> f64 {
        match self.kind {
            Kind::Perplexity => score.log_likelihood,
            _ => f64::from(u8::from(score.is_greedy)),
        }
    }

    /// Score of a generated text, compared with each of the answers.
    pub(super) fn of_text(&self, text: &str, answers: &[String]) -> Result<f64, String> {
        let text = self.ignore.reduced(text)?;
        for answer in answers {
            if self.ignore.reduced(answer)? == text {
                return Ok(1.0);
            }
        }
        Ok(0.0)
    }

    /// Value over all documents, and its standard error if there are at least two.
    pub(super) fn total(&self, scores: &[f64]) -> (f64, Option<f64>) {
        let value = match self.kind {
            Kind::Perplexity => perplexity(scores),
            _ => mean(scores),
        };
        let error = (scores.len() > 1).then(|| match self.kind {
            Kind::Perplexity => bootstrap(scores),
            _ => deviation(scores) / (scores.len() as f64).sqrt(),
        });
        (value, error)
    }
}

impl Ignore {
    fn reduced(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for regex in &self.regexes {
            text = regex.replace(&text, "", 0)?;
        }
        if self.case {
            text = text.to_lowercase();
        }
        if self.punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        Ok(text)
    }
}

/// The numbers of the right choices that an answer names; out of range ones are left out.
pub(super) fn gold(answer: &Value, choices: &[String]) -> Vec<usize> {
    let place = |answer: &Value| match (as_index(answer), answer) {
        (Some(at), _) => usize::try_from(at).ok().filter(|at| *at < choices.len()),
        (None, Value::String(text)) => choices.iter().position(|choice| choice == text),
        _ => None,
    };
    match answer {
        Value::Array(several) => several.iter().filter_map(place).collect(),
        one => place(one).into_iter().collect(),
    }
}

/// The first largest value, or the first that is no number.
fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if value.is_nan() {
            return at;
        }
        if *value > values[best] {
            best = at;
        }
    }
    best
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

fn perplexity(log_likelihoods: &[f64]) -> f64 {
    (-mean(log_likelihoods)).exp()
}

/// Standard error of the perplexity: the deviation over 100,000 samples with replacement, which are those of
/// lm-evaluation-harness.
fn bootstrap(values: &[f64]) -> f64 {
    const SEEDS: u32 = 100;
    const SAMPLES: u32 = 1000;
    let count = values.len();
    let of_seed = |seed: u32| {
        let mut random = Random::new(seed);
        let sample = |_| {
            let drawn = (0..count).map(|_| values[(random.unit() * count as f64) as usize]);
            (-drawn.sum::<f64>() / count as f64).exp()
        };
        (0..SAMPLES).map(sample).collect::<Vec<f64>>()
    };
    let samples: Vec<f64> = (0..SEEDS).into_par_iter().flat_map_iter(of_seed).collect();
    deviation(&samples)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metric(config: Value, output_type: OutputType) -> Result<Metric, String> {
        Metric::of(&serde_json::from_value(config).unwrap(), output_type)
    }

    fn scores(log_likelihoods: &[f64]) -> Vec<Likelihood> {
        let score = |&log_likelihood| Likelihood {
            log_likelihood,
            is_greedy: log_likelihood > -2.5,
        };
        log_likelihoods.iter().map(score).collect()
    }

    #[test]
    fn lengths_are_of_choices_without_their_delimiter() {
        let choices = ["ab".to_owned(), "éèà".into(), "x".into()];
        let scores = scores(&[-2.0, -3.0, -3.0]);
        let right = |name: &str| {
            let metric = metric(json!({ "metric": name }), OutputType::MultipleChoice).unwrap();
            let of = |gold| metric.of_choices(&choices, &scores, &[gold]);
            (0..3).filter(|&gold| of(gold) == 1.0).collect::<Vec<_>>()
        };
        assert_eq!(right("acc"), [0]);
        // -1, -1, -3 per character: the first of equals
        assert_eq!(right("acc_norm"), [0]);
        // -1, -0.5, -3 per byte
        assert_eq!(right("acc_bytes"), [1]);
        assert_eq!(right("exact_match"), [0]);
        assert_eq!(argmax(&[0.0, f64::NAN, 1.0]), 1);
    }

    #[test]
    fn texts_are_compared_without_what_is_ignored() {
        let config = json!({
            "metric": "exact_match", "ignore_case": true, "ignore_punctuation": true,
            "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]
        });
        let metric = metric(config, OutputType::GenerateUntil).unwrap();
        let of = |text: &str, answer: &str| metric.of_text(text, &[answer.into()]).unwrap();
        assert_eq!(of("$1,000.", "it is\n#### 1000"), 1.0);
        assert_eq!(of("Yes!", "yes"), 1.0);
        assert_eq!(of("yes ", "yes"), 0.0);
    }

    #[test]
    fn answers_name_choices_by_number_or_text() {
        let choices = ["a".to_owned(), "b".into()];
        for (answer, expected) in [
            (json!(1), vec![1]),
            (json!(true), vec![1]),
            (json!("b"), vec![1]),
            (json!([0, 1]), vec![0, 1]),
            (json!(2), vec![]),
            (json!("c"), vec![]),
            (json!(null), vec![]),
        ] {
            assert_eq!(gold(&answer, &choices), expected, "{answer}");
        }
    }

    /// The numbers are those of lm-evaluation-harness 0.4.13's `mean_stderr` and `bootstrap_stderr`.
    #[test]
    fn standard_errors_are_those_of_lm_evaluation_harness() {
        let mean = metric(json!({"metric": "acc"}), OutputType::Loglikelihood).unwrap();
        assert_eq!(mean.total(&[1.0, 0.0, 1.0, 1.0]), (0.75, Some(0.25)));
        assert_eq!(mean.total(&[1.0]), (1.0, None));
        let perplexity =
            metric(json!({"metric": "perplexity"}), OutputType::Loglikelihood).unwrap();
        let (value, error) = perplexity.total(&[-1.0, -2.5, -0.25, -4.0]);
        assert!((value - PERPLEXITY[0]).abs() < 1e-9, "{value}");
        assert!((error.unwrap() - PERPLEXITY[1]).abs() < 1e-9, "{error:?}");
    }

    const PERPLEXITY: [f64; 2] = [6.941375821197036, 7.418221917048942];

    #[test]
    fn a_metric_that_is_not_known_is_named() {
        for (config, part) in [
            (
                json!({"metric": "f1"}),
                "the metric `f1` is not supported, expected acc, acc_norm, acc_bytes, exact_match",
            ),
            (
                json!({"metric": "perplexity"}),
                "the metric `perplexity` is not supported",
            ),
            (
                json!({"metric": "acc", "aggregation": "median"}),
                "`aggregation: median`, expected `mean`",
            ),
            (
                json!({"metric": "acc", "regexes_to_ignore": ["("]}),
                "no regular expression",
            ),
        ] {
            let error = metric(config, OutputType::MultipleChoice).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
