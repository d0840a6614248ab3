//! Evaluation of a model on a task.

use std::ops::ControlFlow;

use darkhorse_backends::Ops;
use serde_json::{Map, Value, json};

use super::encode::{Encoder, Known};
use super::error::TaskError;
use super::filter::{Filter, NONE};
use super::generate::{Stop, generate};
use super::metric::{Kind, Metric};
use super::results::{MetricScore, TaskScore};
use super::subject::Subject;
use super::task::{Asked, Item, Task};
use crate::inference::{Continuation, Likelihood, likelihoods};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;

/// Scores of a task, and what they are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The scores.
    pub score: TaskScore,
    /// One object per document and filter, in the layout of lm-evaluation-harness' samples.
    pub samples: Vec<Value>,
}

/// Evaluates a model on tasks, on the first `limit` documents of each, or on all.
///
/// # Errors
///
/// [`TaskError`]: a document that lacks a field, a text that the tokenizer refuses, or logits that are not finite.
pub fn evaluate<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    subject: &Subject<'_, B, M, R>,
    tasks: &[Task],
    limit: Option<usize>,
) -> Result<Vec<TaskScore>, TaskError> {
    let scores = tasks.iter().map(|task| {
        let found = evaluate_task(subject, task, limit, |_, _| ControlFlow::Continue(()));
        found.map(|it| it.score)
    });
    scores.collect()
}

/// Evaluates a model on one task. `progress` gets the number of requests that are done, and the number of all; if it
/// breaks, the evaluation ends with [`TaskError::Stopped`].
///
/// # Errors
///
/// Those of [`evaluate`].
pub fn evaluate_task<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    subject: &Subject<'_, B, M, R>,
    task: &Task,
    limit: Option<usize>,
    mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Evaluated, TaskError> {
    let items = task.items(limit.unwrap_or(usize::MAX))?;
    let pairs = pairs(subject, &items)?;
    let count = pairs.len();
    let scored = likelihoods(subject.model, subject.limits, &pairs, |done| {
        progress(done, count)
    })?;
    let mut scored = scored.ok_or(TaskError::Stopped)?.into_iter();
    let prompts: Vec<&str> = items
        .iter()
        .filter_map(|item| match &item.asked {
            Asked::Prompt { prompt, .. } => Some(prompt.as_str()),
            _ => None,
        })
        .collect();
    let mut texts = Vec::new();
    if !prompts.is_empty() {
        let stop = Stop::of(
            &task.config.generation_kwargs,
            &task.config.fewshot_delimiter,
            subject.tokenizer,
            &subject.stop_ids,
        );
        texts = generate(subject, &prompts, &stop, |done| {
            progress(done, prompts.len())
        })?;
    }
    let mut texts = texts.into_iter();
    let answers: Vec<Answer> = items
        .iter()
        .map(|item| match &item.asked {
            Asked::Choices { pairs, .. } => {
                Answer::Scores(scored.by_ref().take(pairs.len()).collect())
            }
            Asked::Continuation(_) => Answer::Scores(scored.by_ref().take(1).collect()),
            Asked::Prompt { .. } => Answer::Text(texts.next().unwrap_or_default()),
        })
        .collect();
    warn_without_answer(task, &items);
    score(task, &items, &answers)
}

/// What the model answers.
enum Answer {
    Scores(Vec<Likelihood>),
    Text(String),
}

/// Ids of all contexts and continuations.
fn pairs<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    subject: &Subject<'_, B, M, R>,
    items: &[Item],
) -> Result<Vec<Continuation>, TaskError> {
    let encoder = Encoder::new(subject.tokenizer);
    let mut known = Known::default();
    let texts = items.iter().flat_map(|item| match &item.asked {
        Asked::Choices { pairs, .. } => pairs.as_slice(),
        Asked::Continuation(pair) => std::slice::from_ref(pair),
        Asked::Prompt { .. } => &[],
    });
    let pairs =
        texts.map(|[context, continuation]| Ok(encoder.pair(context, continuation, &mut known)?));
    pairs.collect()
}

/// Warns of questions whose answer is none of their choices: they count as wrong.
fn warn_without_answer(task: &Task, items: &[Item]) {
    let lacks =
        |item: &&Item| matches!(&item.asked, Asked::Choices { gold, .. } if gold.is_empty());
    let count = items.iter().filter(lacks).count();
    if count > 0 {
        tracing::warn!(
            "task `{}`: the answer of {count} of {} documents is none of their choices, which counts as wrong",
            task.name(),
            items.len()
        );
    }
}

fn score(task: &Task, items: &[Item], answers: &[Answer]) -> Result<Evaluated, TaskError> {
    let mut samples = Vec::new();
    let mut metrics = Vec::new();
    for filter in &task.filters {
        let mut columns: Vec<Vec<f64>> = task.metrics.iter().map(|_| Vec::new()).collect();
        for (number, (item, answer)) in items.iter().zip(answers).enumerate() {
            let scores = of_item(&task.metrics, filter, item, answer);
            let (scores, filtered) = scores.map_err(|reason| TaskError::Document {
                task: task.name().into(),
                document: number,
                split: task.config.split().into(),
                reason,
            })?;
            for (column, score) in columns.iter_mut().zip(&scores) {
                column.push(*score);
            }
            samples.push(sample(
                task,
                number,
                item,
                answer,
                (filter, filtered),
                &scores,
            ));
        }
        for (metric, column) in task.metrics.iter().zip(&columns) {
            let (value, stderr) = metric.total(column);
            metrics.push(MetricScore {
                metric: metric.name.into(),
                filter: filter.name.clone(),
                value,
                stderr,
                higher_is_better: metric.higher_is_better,
                chance: chance(metric, items),
            });
        }
    }
    let stated = task.config.task_alias.as_ref();
    Ok(Evaluated {
        score: TaskScore {
            task: task.name().into(),
            alias: stated.unwrap_or(&task.config.task).clone(),
            version: task.config.version(),
            documents: items.len(),
            available: task.documents(),
            num_fewshot: task.num_fewshot,
            metrics,
            config: task.stated(),
        },
        samples,
    })
}

/// Scores of a document, and what the filter makes of its answer.
fn of_item(
    metrics: &[Metric],
    filter: &Filter,
    item: &Item,
    answer: &Answer,
) -> Result<(Vec<f64>, Option<String>), String> {
    let metrics = metrics.iter();
    Ok(match (&item.asked, answer) {
        (Asked::Choices { choices, gold, .. }, Answer::Scores(scores)) => {
            let of_metric = |metric: &Metric| metric.of_choices(choices, scores, gold);
            (metrics.map(of_metric).collect(), None)
        }
        (_, Answer::Scores(scores)) => {
            let score = scores.first().ok_or("there is no score")?;
            (
                metrics
                    .map(|metric| metric.of_continuation(score))
                    .collect(),
                None,
            )
        }
        (Asked::Prompt { answers, .. }, Answer::Text(text)) => {
            let text = filter.apply(text)?;
            let scores = metrics.map(|metric| metric.of_text(&text, answers));
            (scores.collect::<Result<_, _>>()?, Some(text))
        }
        (_, Answer::Text(_)) => return Err("there is no prompt".into()),
    })
}

/// Mean probability of a right choice by chance.
fn chance(metric: &Metric, items: &[Item]) -> Option<f64> {
    if !matches!(metric.kind, Kind::Acc | Kind::AccNorm | Kind::AccBytes) {
        return None;
    }
    let of_item = items.iter().map(|item| match &item.asked {
        Asked::Choices { choices, gold, .. } => Some(gold.len() as f64 / choices.len() as f64),
        _ => None,
    });
    let sum: Option<f64> = of_item.sum();
    sum.filter(|_| !items.is_empty())
        .map(|sum| sum / items.len() as f64)
}

fn sample(
    task: &Task,
    number: usize,
    item: &Item,
    answer: &Answer,
    (filter, filtered): (&Filter, Option<String>),
    scores: &[f64],
) -> Value {
    let arguments: Vec<[&str; 2]> = match &item.asked {
        Asked::Choices { pairs, .. } => pairs
            .iter()
            .map(|it| it.each_ref().map(String::as_str))
            .collect(),
        Asked::Continuation(pair) => vec![pair.each_ref().map(String::as_str)],
        Asked::Prompt { prompt, .. } => vec![[prompt, ""]],
    };
    let responses: Vec<Value> = match answer {
        Answer::Scores(scores) => {
            let scores = scores.iter();
            scores
                .map(|it| json!([it.log_likelihood, it.is_greedy]))
                .collect()
        }
        Answer::Text(text) => vec![json!(text)],
    };
    let is_text = filtered.is_some();
    let filtered = filtered.map_or_else(|| responses.clone(), |text| vec![json!(text)]);
    let arguments = arguments
        .iter()
        .enumerate()
        .map(|(at, [context, continuation])| {
            let mut entry = Map::new();
            entry.insert("arg_0".into(), (*context).into());
            if !is_text {
                entry.insert("arg_1".into(), (*continuation).into());
            }
            (format!("gen_args_{at}"), Value::Object(entry))
        });
    let names: Vec<&str> = task.metrics.iter().map(|it| it.name).collect();
    let mut sample = json!({
        "task": task.name(),
        "doc_id": number,
        "doc": task.documents[number],
        "target": item.target,
        "arguments": Value::Object(arguments.collect()),
        "resps": responses.iter().map(|it| [it]).collect::<Vec<_>>(),
        "filtered_resps": filtered,
        "filter": if filter.name.is_empty() { NONE } else { &filter.name },
        "metrics": names,
    });
    for (name, score) in names.iter().zip(scores) {
        sample[*name] = json!(score);
    }
    sample
}
