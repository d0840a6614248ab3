//! Filters: what is taken from a generated text before it is compared.

use super::config::{FilterConfig, FilterStep};
use super::pattern::Pattern;
use crate::tokenizer::chat::python::is_space;

/// Name of the filter of tasks without `filter_list`.
pub(super) const NONE: &str = "none";

/// A named row of steps.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// Text of one match, or of its first group that is not empty.
    Regex {
        pattern: Pattern,
        /// Number of the match, from the last if it is negative.
        select: i64,
        fallback: String,
    },
    RemoveWhitespace,
    Lowercase,
    Uppercase,
}

impl Filter {
    /// The filters of a task, or the one that changes nothing.
    pub(super) fn list(configs: Option<&[FilterConfig]>) -> Result<Vec<Self>, String> {
        let Some(configs) = configs else {
            return Ok(vec![Self {
                name: NONE.into(),
                steps: Vec::new(),
            }]);
        };
        configs.iter().map(Self::of).collect()
    }

    fn of(config: &FilterConfig) -> Result<Self, String> {
        let FilterConfig { name, filter } = config;
        let fault = |reason: String| format!("filter `{name}`: {reason}");
        let Some((last, steps)) = filter.split_last() else {
            return Err(fault(
                "it has no steps, expected `take_first` at its end".into(),
            ));
        };
        if last.function != "take_first" {
            let found = &last.function;
            return Err(fault(format!(
                "its last step is `{found}`, expected `take_first`"
            )));
        }
        let steps = steps.iter().map(Step::of);
        Ok(Self {
            name: name.clone(),
            steps: steps.collect::<Result<_, _>>().map_err(fault)?,
        })
    }

    /// Whether it changes nothing.
    pub(super) fn is_plain(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is compared of a text.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        let steps = self.steps.iter();
        steps
            .clone()
            .try_fold(text.to_owned(), |text, step| step.apply(&text))
    }
}

impl Step {
    fn of(step: &FilterStep) -> Result<Self, String> {
        Ok(match step.function.as_str() {
            "regex" => Self::Regex {
                pattern: Pattern::parse(
                    step.regex_pattern
                        .as_deref()
                        .unwrap_or(r"#### (\-?[0-9\.\,]+)"),
                )?,
                select: step.group_select.unwrap_or(0),
                fallback: step.fallback.clone().unwrap_or_else(|| "[invalid]".into()),
            },
            "remove_whitespace" => Self::RemoveWhitespace,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            other => {
                return Err(format!(
                    "the step `{other}` is not supported, expected `regex`, `remove_whitespace`, `lowercase`, `uppercase` or `take_first`"
                ));
            }
        })
    }

    fn apply(&self, text: &str) -> Result<String, String> {
        Ok(match self {
            Self::RemoveWhitespace => text.trim_matches(is_space).into(),
            Self::Lowercase => text.to_lowercase(),
            Self::Uppercase => text.to_uppercase(),
            Self::Regex {
                pattern,
                select,
                fallback,
            } => {
                let found = pattern.find_all(text)?;
                if found.is_empty() {
                    return Ok(fallback.clone());
                }
                let count = found.len() as i64;
                let at = if *select < 0 { select + count } else { *select };
                let groups = usize::try_from(at).ok().and_then(|at| found.get(at));
                let groups = groups.ok_or_else(|| {
                    format!("a filter takes match {select}, and a text has {count} matches")
                })?;
                let text = if groups.len() == 1 {
                    groups.first()
                } else {
                    groups.iter().find(|group| !group.is_empty())
                };
                text.map_or(fallback.as_str(), |text| text.trim_matches(is_space))
                    .into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(steps: serde_json::Value) -> Result<Filter, String> {
        let config = json!({"name": "f", "filter": steps});
        Filter::of(&serde_json::from_value(config).unwrap())
    }

    /// The texts are what lm-evaluation-harness 0.4.13 makes of them.
    #[test]
    fn answers_are_taken_out_as_in_gsm8k() {
        let strict = filter(json!([{"function": "regex"}, {"function": "take_first"}])).unwrap();
        let flexible = json!([
            {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
            {"function": "take_first"}
        ]);
        let flexible = filter(flexible).unwrap();
        for (text, expected) in [
            ("so #### 1,234.\nQ", ["1,234.", "1,234."]),
            ("5 of $12.50 is 7", ["[invalid]", "7"]),
            ("none", ["[invalid]", "[invalid]"]),
            ("#### -3", ["-3", "-3"]),
        ] {
            let found = [&strict, &flexible].map(|filter| filter.apply(text).unwrap());
            assert_eq!(found, expected, "{text}");
        }
        let steps = json!([{"function": "lowercase"}, {"function": "remove_whitespace"}, {"function": "take_first"}]);
        assert_eq!(filter(steps).unwrap().apply(" Yes\n").unwrap(), "yes");
    }

    #[test]
    fn a_filter_that_is_not_known_is_named() {
        for (steps, part) in [
            (
                json!([{"function": "majority_vote"}, {"function": "take_first"}]),
                "the step `majority_vote`",
            ),
            (json!([{"function": "regex"}]), "its last step is `regex`"),
            (json!([]), "it has no steps"),
            (
                json!([{"function": "regex", "regex_pattern": "("}, {"function": "take_first"}]),
                "no regular expression",
            ),
        ] {
            let error = filter(steps).unwrap_err();
            assert!(
                error.starts_with("filter `f`: ") && error.contains(part),
                "{error}"
            );
        }
    }
}
