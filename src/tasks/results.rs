//! Scores of tasks: as a table, and in the JSON layout of lm-evaluation-harness.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Value of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricScore {
    /// Name of the metric.
    pub metric: String,
    /// Name of the filter that texts went through; `none` without one.
    pub filter: String,
    /// Value over all documents.
    pub value: f64,
    /// Standard error; absent for a single document.
    pub stderr: Option<f64>,
    /// Whether larger values are better.
    pub higher_is_better: bool,
    /// Expected value of random choices; absent if it is not known.
    pub chance: Option<f64>,
}

impl MetricScore {
    /// Distance from chance over `documents` documents, in standard errors; absent without either. If all documents
    /// score alike, the standard error of random choices takes the place of that of the scores, which is 0.
    pub fn errors_above_chance(&self, documents: usize) -> Option<f64> {
        let chance = self.chance?;
        let error = match self.stderr? {
            0.0 => (chance * (1.0 - chance) / documents as f64).sqrt(),
            error => error,
        };
        (error > 0.0).then(|| (self.value - chance) / error)
    }
}

/// Scores of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Name of the task.
    pub task: String,
    /// Name for tables.
    pub alias: String,
    /// Version that the task states, or `Yaml`.
    pub version: Value,
    /// Number of documents that were scored.
    pub documents: usize,
    /// Number of documents in the split.
    pub available: usize,
    /// Number of few-shot examples before each document.
    pub num_fewshot: usize,
    /// The metrics, in the order of the task.
    pub metrics: Vec<MetricScore>,
    /// The configuration, as far as the task states it.
    pub config: Map<String, Value>,
}

/// Results in the layout of lm-evaluation-harness' JSON.
pub fn lm_eval_layout(scores: &[TaskScore]) -> Value {
    let by_task = |value: &dyn Fn(&TaskScore) -> Value| -> Value {
        let entries = scores.iter().map(|it| (it.task.clone(), value(it)));
        Value::Object(entries.collect())
    };
    let results = by_task(&|score| {
        let mut entries = Map::new();
        entries.insert("name".into(), score.task.clone().into());
        entries.insert("alias".into(), score.alias.clone().into());
        entries.insert("sample_len".into(), score.documents.into());
        for MetricScore {
            metric,
            filter,
            value,
            stderr,
            ..
        } in &score.metrics
        {
            entries.insert(format!("{metric},{filter}"), json!(value));
            let stderr = stderr.map_or_else(|| "N/A".into(), |it| json!(it));
            entries.insert(format!("{metric}_stderr,{filter}"), stderr);
        }
        Value::Object(entries)
    });
    let directions = by_task(&|score| {
        let metrics = score.metrics.iter();
        let entries = metrics.map(|it| (it.metric.clone(), it.higher_is_better.into()));
        Value::Object(entries.collect())
    });
    json!({
        "results": results,
        "group_subtasks": {},
        "configs": by_task(&|it| Value::Object(it.config.clone())),
        "versions": by_task(&|it| it.version.clone()),
        "n-shot": by_task(&|it| it.num_fewshot.into()),
        "higher_is_better": directions,
        "n-samples": by_task(&|it| json!({"original": it.available, "effective": it.documents})),
    })
}

/// Displays scores as a table.
#[derive(Debug)]
pub struct ScoreTable<'a>(pub &'a [TaskScore]);

impl fmt::Display for ScoreTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TITLES: [&str; 7] = ["task", "n", "shots", "metric", "value", "stderr", "chance"];
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |it| format!("{it:.4}"));
        let mut rows = vec![TITLES.map(String::from)];
        for score in self.0 {
            for (at, it) in score.metrics.iter().enumerate() {
                let once = |text: String| if at == 0 { text } else { String::new() };
                let filter = if it.filter == "none" {
                    String::new()
                } else {
                    format!(" ({})", it.filter)
                };
                rows.push([
                    once(score.alias.clone()),
                    once(score.documents.to_string()),
                    once(score.num_fewshot.to_string()),
                    format!("{}{filter}", it.metric),
                    number(Some(it.value)),
                    number(it.stderr),
                    number(it.chance),
                ]);
            }
        }
        let widths: Vec<usize> = (0..TITLES.len())
            .map(|at| {
                rows.iter()
                    .map(|row| row[at].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &rows {
            let [task, n, shots, metric, value, stderr, chance] = row;
            writeln!(
                f,
                "{task:0$}  {n:>1$}  {shots:>2$}  {metric:3$}  {value:>4$}  {stderr:>5$}  {chance:>6$}",
                widths[0], widths[1], widths[2], widths[3], widths[4], widths[5], widths[6]
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score() -> TaskScore {
        let metric = |metric: &str, filter: &str, stderr| MetricScore {
            metric: metric.into(),
            filter: filter.into(),
            value: 0.5,
            stderr,
            higher_is_better: true,
            chance: stderr.map(|_| 0.25),
        };
        TaskScore {
            task: "t".into(),
            alias: "t".into(),
            version: json!(1.0),
            documents: 7,
            available: 9,
            num_fewshot: 2,
            metrics: vec![
                metric("acc", "none", Some(0.125)),
                metric("exact_match", "strict", None),
            ],
            config: json!({"task": "t"}).as_object().unwrap().clone(),
        }
    }

    #[test]
    fn the_json_has_the_layout_of_lm_evaluation_harness() {
        assert_eq!(
            lm_eval_layout(&[score()]),
            json!({
                "results": {"t": {
                    "name": "t", "alias": "t", "sample_len": 7, "acc,none": 0.5, "acc_stderr,none": 0.125,
                    "exact_match,strict": 0.5, "exact_match_stderr,strict": "N/A"
                }},
                "group_subtasks": {},
                "configs": {"t": {"task": "t"}},
                "versions": {"t": 1.0},
                "n-shot": {"t": 2},
                "higher_is_better": {"t": {"acc": true, "exact_match": true}},
                "n-samples": {"t": {"original": 9, "effective": 7}}
            })
        );
    }

    #[test]
    fn the_distance_from_chance_is_in_standard_errors() {
        let [mut acc, other] = score().metrics.try_into().unwrap();
        assert_eq!(acc.errors_above_chance(7), Some(2.0));
        assert_eq!(other.errors_above_chance(7), None);
        // all documents score alike: 0.25 * 0.75 / 12 is 1/64
        acc.stderr = Some(0.0);
        assert_eq!(acc.errors_above_chance(12), Some(2.0));
        acc.chance = Some(1.0);
        assert_eq!(acc.errors_above_chance(12), None);
    }

    #[test]
    fn the_table_has_a_line_per_metric() {
        let expected = "\
task  n  shots  metric                 value  stderr  chance
t     7      2  acc                   0.5000  0.1250  0.2500
                exact_match (strict)  0.5000       -       -
";
        assert_eq!(ScoreTable(&[score()]).to_string(), expected);
    }
}
