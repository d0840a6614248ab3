//! Tasks before and after a carving, and how much of what the dense model knows is left.

use serde::{Deserialize, Serialize};

use crate::tasks::{MetricScore, TaskScore};

/// A metric counts if the dense model stands more than this many standard errors above chance.
pub(super) const ERRORS: f64 = 3.0;

/// Scores of the dense, the carved and the recovered model on tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScores {
    /// The tasks.
    pub tasks: Vec<TaskRecord>,
    /// Number of tasks with a metric that counts.
    pub counted: usize,
    /// Mean of what is left over the tasks that count, a task with several such metrics as their mean; absent if none
    /// counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// Share of the dense model's score above chance that is left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// In the carved model.
    pub carved: f64,
    /// In the recovered model; absent if there was no recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<f64>,
}

/// A task and its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Name of the task.
    pub task: String,
    /// Number of documents that were scored.
    pub documents: usize,
    /// Number of few-shot examples before each.
    pub num_fewshot: usize,
    /// The metrics.
    pub metrics: Vec<MetricRecord>,
}

/// A metric of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Name of the metric.
    pub metric: String,
    /// Name of the filter that texts went through; `none` without one.
    pub filter: String,
    /// Expected value of random choices; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// The dense model's.
    pub dense: Score,
    /// The carved model's.
    pub carved: Score,
    /// The recovered model's; absent if there was no recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Score>,
    /// Distance of the dense model from chance, in its standard errors; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_above_chance: Option<f64>,
    /// What is left, or why that is not told.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A score with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Value over all documents.
    pub value: f64,
    /// Standard error; absent for a single document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<f64>,
}

/// Whether a metric counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It does: what is left of the dense model's score above chance.
    Kept(Kept),
    /// It does not, for this reason.
    NotCounted(String),
}

impl TaskScores {
    /// Compares the models' scores on the same tasks.
    pub fn of(dense: &[TaskScore], carved: &[TaskScore], recovered: Option<&[TaskScore]>) -> Self {
        let pairs = dense.iter().zip(carved).enumerate();
        let tasks: Vec<TaskRecord> = pairs
            .map(|(at, (dense, carved))| {
                let recovered = recovered.and_then(|it| it.get(at));
                TaskRecord::of(dense, carved, recovered)
            })
            .collect();
        let kept: Vec<Kept> = tasks.iter().filter_map(TaskRecord::kept).collect();
        Self {
            counted: kept.len(),
            kept: Kept::mean(&kept),
            tasks,
        }
    }
}

impl Kept {
    /// `None` without any.
    fn mean(all: &[Self]) -> Option<Self> {
        let count = all.len() as f64;
        let recovered: Option<f64> = all.iter().map(|it| it.recovered).sum();
        (!all.is_empty()).then(|| Self {
            carved: all.iter().map(|it| it.carved).sum::<f64>() / count,
            recovered: recovered.map(|sum| sum / count),
        })
    }
}

impl TaskRecord {
    fn of(dense: &TaskScore, carved: &TaskScore, recovered: Option<&TaskScore>) -> Self {
        let pairs = dense.metrics.iter().zip(&carved.metrics).enumerate();
        let documents = dense.documents;
        let metrics = pairs.map(|(at, (dense, carved))| {
            let recovered = recovered.and_then(|it| it.metrics.get(at));
            MetricRecord::of(documents, dense, carved, recovered)
        });
        Self {
            task: dense.task.clone(),
            documents: dense.documents,
            num_fewshot: dense.num_fewshot,
            metrics: metrics.collect(),
        }
    }

    /// Mean over the metrics that count; `None` if none does.
    fn kept(&self) -> Option<Kept> {
        let kept = self.metrics.iter().filter_map(|it| it.outcome.kept());
        Kept::mean(&kept.collect::<Vec<_>>())
    }
}

impl MetricRecord {
    fn of(
        documents: usize,
        dense: &MetricScore,
        carved: &MetricScore,
        recovered: Option<&MetricScore>,
    ) -> Self {
        let errors = dense.errors_above_chance(documents);
        let outcome = match (dense.chance, errors) {
            (None, _) => Outcome::NotCounted("what chance would score is not known".into()),
            (Some(_), None) => Outcome::NotCounted("the dense model has no standard error".into()),
            (Some(chance), Some(errors)) if errors > ERRORS => {
                let left = |it: &MetricScore| (it.value - chance) / (dense.value - chance);
                Outcome::Kept(Kept {
                    carved: left(carved),
                    recovered: recovered.map(left),
                })
            }
            (Some(_), Some(errors)) => Outcome::NotCounted(format!(
                "the dense model stands {errors:.1} standard errors above chance, and more than {ERRORS:.0} count"
            )),
        };
        Self {
            metric: dense.metric.clone(),
            filter: dense.filter.clone(),
            chance: dense.chance,
            dense: Score::of(dense),
            carved: Score::of(carved),
            recovered: recovered.map(Score::of),
            errors_above_chance: errors,
            outcome,
        }
    }

    /// Name of the metric, with its filter if there is one.
    pub fn name(&self) -> String {
        if self.filter == "none" {
            self.metric.clone()
        } else {
            format!("{} ({})", self.metric, self.filter)
        }
    }
}

impl Outcome {
    /// What is left, if the metric counts.
    pub fn kept(&self) -> Option<Kept> {
        match self {
            Self::Kept(kept) => Some(*kept),
            Self::NotCounted(_) => None,
        }
    }
}

impl Score {
    fn of(score: &MetricScore) -> Self {
        Self {
            value: score.value,
            stderr: score.stderr,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn score(task: &str, values: &[(f64, Option<f64>, Option<f64>)]) -> TaskScore {
        let names = ["acc", "acc_norm", "perplexity"];
        let metrics = values
            .iter()
            .zip(names)
            .map(|(&(value, stderr, chance), name)| MetricScore {
                metric: name.into(),
                filter: "none".into(),
                value,
                stderr,
                higher_is_better: name != "perplexity",
                chance,
            });
        TaskScore {
            task: task.into(),
            alias: task.into(),
            version: json!(1),
            documents: 200,
            available: 300,
            num_fewshot: 0,
            metrics: metrics.collect(),
            config: Map::new(),
        }
    }

    /// Two tasks: the first counts by both of its metrics, the second does not.
    pub(in super::super) fn scores() -> [Vec<TaskScore>; 3] {
        let of = |a: f64, b: f64, c: f64| {
            vec![
                score(
                    "a",
                    &[
                        (a, Some(0.05), Some(0.25)),
                        (b, Some(0.05), Some(0.25)),
                        (9.0, Some(1.0), None),
                    ],
                ),
                score("b", &[(c, Some(0.125), Some(0.5)), (1.0, None, Some(0.5))]),
            ]
        };
        [
            of(0.75, 0.65, 0.875),
            of(0.5, 0.35, 0.5),
            of(0.75, 0.55, 0.6),
        ]
    }

    #[test]
    fn what_is_left_is_told_of_what_stands_above_chance() {
        let [dense, carved, recovered] = scores();
        let found = TaskScores::of(&dense, &carved, Some(&recovered));
        let [a, b] = &found.tasks[..] else { panic!() };
        let near = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!(
                (found - expected).abs() < 1e-9,
                "{found}, expected {expected}"
            );
        };
        let kept = |at: usize| a.metrics[at].outcome.kept().unwrap();
        near(a.metrics[0].errors_above_chance, 10.0);
        near(Some(kept(0).carved), 0.5);
        near(Some(kept(1).carved), 0.25);
        near(kept(0).recovered, 1.0);
        near(kept(1).recovered, 0.75);
        // exactly three standard errors are not more than three
        near(b.metrics[0].errors_above_chance, 3.0);
        let reasons: Vec<Option<Kept>> = b.metrics.iter().map(|it| it.outcome.kept()).collect();
        assert_eq!(reasons, [None, None]);
        assert_eq!(found.counted, 1);
        near(found.kept.map(|it| it.carved), 0.375);
        near(found.kept.and_then(|it| it.recovered), 0.875);
        assert_eq!(
            found.not_counted(),
            [
                "a, perplexity: what chance would score is not known",
                "b, acc: the dense model stands 3.0 standard errors above chance, and more than 3 count",
                "b, acc_norm: the dense model has no standard error",
            ]
        );
        assert_eq!(
            found.summary(),
            "left of the dense model's score above chance: 37.5 % as carved, 87.5 % after recovery; mean over 1 of 2 tasks"
        );
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let [dense, carved, _] = scores();
        let found = TaskScores::of(&dense[1..], &carved[1..], None);
        let json = json!(found);
        assert_eq!(json.get("kept"), None);
        assert_eq!(json["counted"], 0);
        let metric = &json["tasks"][0]["metrics"][0];
        assert_eq!(metric.get("recovered"), None);
        assert_eq!(metric.get("kept"), None);
        assert!(
            metric["not_counted"]
                .as_str()
                .unwrap()
                .starts_with("the dense model stands 3.0")
        );
        assert_eq!(serde_json::from_value::<TaskScores>(json).unwrap(), found);
        assert!(!found.to_string().contains("recovered"));
        let counted = json!(TaskScores::of(&dense[..1], &carved[..1], None));
        let metric = &counted["tasks"][0]["metrics"][0];
        assert_eq!(metric["kept"], json!({"carved": 0.5}));
        assert_eq!(metric.get("not_counted"), None);
        assert_eq!(counted["kept"].get("recovered"), None);
    }
}
