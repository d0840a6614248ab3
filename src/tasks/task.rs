//! A task: its configuration, its documents, and what a model is asked about each.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::config::{Field, OutputType, TaskConfig};
use super::dataset::Dataset;
use super::error::TaskError;
use super::fewshot::{Examples, shot};
use super::filter::Filter;
use super::metric::{Metric, gold};
use super::prompt::{Query, Sources, as_index, choice_at, shown};
use super::records::{Record, Records};
use crate::tokenizer::chat::python::shown as as_text;

/// How a task is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Folder with data sets in the layout of Hugging Face's hub, for tasks whose data is there.
    pub data: Option<PathBuf>,
    /// Number of few-shot examples, in place of the task's own. As in lm-evaluation-harness, a task that states 0
    /// keeps 0.
    pub num_fewshot: Option<usize>,
}

/// A task, with its documents in memory.
#[derive(Debug)]
pub struct Task {
    pub(super) config: TaskConfig,
    pub(super) num_fewshot: usize,
    pub(super) metrics: Vec<Metric>,
    pub(super) filters: Vec<Filter>,
    pub(super) documents: Vec<Record>,
    sources: Sources,
    /// Documents that examples are drawn from, and their sources if they differ.
    pool: Vec<Record>,
    shots: Sources,
}

/// What a model is asked about a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) asked: Asked,
    /// The answer, as the task states it.
    pub(super) target: Value,
}

/// Requests of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// One context and one continuation per choice.
    Choices {
        pairs: Vec<[String; 2]>,
        choices: Vec<String>,
        gold: Vec<usize>,
    },
    /// A context and its continuation.
    Continuation([String; 2]),
    /// A prompt, and the texts that are right.
    Prompt {
        prompt: String,
        answers: Vec<String>,
    },
}

impl Task {
    /// Opens a task file, or a built-in task by its name, and reads its documents.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: an unknown name, a file that cannot be read, a key that is not supported, or data that lacks
    /// a field.
    pub fn open(name: &str, options: &TaskOptions) -> Result<Self, TaskError> {
        let config = TaskConfig::open(name)?;
        let fault = |reason: String| TaskError::Config {
            place: name.into(),
            reason,
        };
        let metrics = Metric::list(config.metric_list.as_deref(), config.output_type);
        let metrics = metrics.map_err(fault)?;
        let filters = Filter::list(config.filter_list.as_deref()).map_err(fault)?;
        let is_plain = filters.iter().all(Filter::is_plain);
        if config.output_type != OutputType::GenerateUntil && !is_plain {
            return Err(fault(
                "`filter_list` changes texts, and only `generate_until` makes some".into(),
            ));
        }
        let num_fewshot = match (config.num_fewshot, options.num_fewshot) {
            (Some(0), _) => 0,
            (stated, asked) => asked.or(stated).unwrap_or(0),
        };
        let dataset = Dataset {
            config: &config,
            hub: options.data.as_deref(),
        };
        let documents = dataset.split(config.split())?;
        let pool = pool(&config, &dataset, &documents, num_fewshot)?;
        let own = &config.fewshot_config;
        let text = &config.doc_to_text;
        let target = &config.doc_to_target;
        let choice = config.doc_to_choice.as_ref();
        let has_choices = choice.is_some();
        let sources = |fields: [&Field; 2], choice, records: &Records| {
            Sources::of(fields, choice, has_choices, &records.fields).map_err(fault)
        };
        let shots = [
            own.doc_to_text.as_ref().unwrap_or(text),
            own.doc_to_target.as_ref().unwrap_or(target),
        ];
        Ok(Self {
            sources: sources([text, target], choice, &documents)?,
            shots: sources(shots, own.doc_to_choice.as_ref().or(choice), &pool)?,
            documents: documents.records,
            pool: pool.records,
            num_fewshot,
            metrics,
            filters,
            config,
        })
    }

    /// Name of the task.
    pub fn name(&self) -> &str {
        &self.config.task
    }

    /// Number of documents in the split that is evaluated.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// The requests of the first `limit` documents.
    pub(super) fn items(&self, limit: usize) -> Result<Vec<Item>, TaskError> {
        let mut examples = Examples::new(&self.pool, self.config.fewshot_config.sampler);
        let documents = self.documents.iter().take(limit).enumerate();
        let items = documents.map(|(number, document)| {
            self.item(document, &mut examples)
                .map_err(|reason| TaskError::Document {
                    task: self.config.task.clone(),
                    document: number,
                    split: self.config.split().into(),
                    reason,
                })
        });
        items.collect()
    }

    fn item(&self, document: &Record, examples: &mut Examples<'_>) -> Result<Item, String> {
        let before = self.before(document, examples)?;
        let query = self.sources.query(document)?;
        let target = self.sources.target(document)?;
        let choices = self.sources.choices(document)?;
        let delimiter = &self.config.target_delimiter;
        let text = |query: Query| match query {
            Query::Text(text) => Ok(before.clone() + &text),
            Query::Index(_) => {
                Err("`doc_to_text` is a number, which only `multiple_choice` can take".to_owned())
            }
        };
        let asked = match (self.config.output_type, choices) {
            (OutputType::MultipleChoice, None) => return Err("there are no choices".into()),
            (OutputType::MultipleChoice, Some(choices)) => {
                let (pairs, right): (Vec<[String; 2]>, Value) = match query {
                    Query::Text(text) => {
                        let context = before.clone() + &text;
                        let pair = |choice: &String| [context.clone(), delimiter.clone() + choice];
                        (choices.iter().map(pair).collect(), target.clone())
                    }
                    Query::Index(right) => {
                        let rest = delimiter.clone() + &as_text(&target);
                        let pair = |choice: &String| [before.clone() + choice, rest.clone()];
                        (choices.iter().map(pair).collect(), right.into())
                    }
                };
                Asked::Choices {
                    gold: gold(&right, &choices),
                    pairs,
                    choices,
                }
            }
            (OutputType::Loglikelihood, _) => match &target {
                Value::String(target) => Asked::Continuation([text(query)?, target.clone()]),
                other => {
                    let found = shown(other);
                    return Err(format!("`doc_to_target` is {found}, expected text"));
                }
            },
            (OutputType::GenerateUntil, choices) => Asked::Prompt {
                prompt: text(query)?,
                answers: answers(&target, choices.as_deref())?,
            },
        };
        Ok(Item { asked, target })
    }

    /// Description and few-shot examples.
    fn before(&self, document: &Record, examples: &mut Examples<'_>) -> Result<String, String> {
        let mut text = self.description(document)?;
        let own = &self.config.fewshot_config;
        // two splits that are not stated are equal there, too
        let is_drawn_from = self.config.stated_fewshot_split() == self.config.test_split.as_deref();
        let drawn = examples.draw(self.num_fewshot, is_drawn_from.then_some(document))?;
        let delimiters = [
            own.target_delimiter
                .as_ref()
                .unwrap_or(&self.config.target_delimiter),
            own.fewshot_delimiter
                .as_ref()
                .unwrap_or(&self.config.fewshot_delimiter),
        ]
        .map(String::as_str);
        for example in drawn {
            let choices = self.shots.choices(example)?;
            let answer = self.shots.target(example)?;
            let (question, choices) = match self.shots.query(example)? {
                Query::Text(text) => (text, choices),
                Query::Index(right) => {
                    let choices = choices.unwrap_or_default();
                    (choice_at(&choices, right)?.to_owned(), None)
                }
            };
            text += &shot(&question, choices.as_deref(), &answer, delimiters)?;
        }
        Ok(text)
    }

    fn description(&self, document: &Record) -> Result<String, String> {
        let description = &self.config.description;
        if let Some(value) = document.get(description) {
            return Ok(as_text(value));
        }
        if !description.contains('{') {
            return Ok(description.clone());
        }
        let template = super::template::Template::parse(description);
        let rendered = template.and_then(|template| template.render(document));
        rendered.map_err(|reason| format!("`description`: {reason}"))
    }

    /// The configuration, as lm-evaluation-harness prints it.
    pub(super) fn stated(&self) -> Map<String, Value> {
        let config = &self.config;
        let mut all = Map::new();
        for (key, value) in &config.stated {
            if !value.is_null() {
                all.insert(key.clone(), value.clone());
            }
        }
        let defaults = [
            ("description", Value::from(config.description.clone())),
            ("target_delimiter", config.target_delimiter.clone().into()),
            ("fewshot_delimiter", config.fewshot_delimiter.clone().into()),
            ("repeats", config.repeats.into()),
        ];
        for (key, value) in defaults {
            all.entry(key).or_insert(value);
        }
        all.insert("num_fewshot".into(), self.num_fewshot.into());
        all
    }
}

/// Documents that examples are drawn from.
fn pool(
    config: &TaskConfig,
    dataset: &Dataset<'_>,
    documents: &Records,
    num_fewshot: usize,
) -> Result<Records, TaskError> {
    let samples = config.fewshot_config.samples.as_ref();
    let split = match (config.stated_fewshot_split(), samples) {
        _ if num_fewshot == 0 => config.split(),
        (Some(split), _) => split,
        (None, Some(samples)) => return Ok(Records::of(samples.clone())),
        (None, None) => {
            let other = config.training_split.as_deref();
            let other = other.or(config.validation_split.as_deref());
            other.unwrap_or(config.split())
        }
    };
    if num_fewshot == 0 {
        return Ok(Records {
            fields: documents.fields.clone(),
            records: Vec::new(),
        });
    }
    if split == config.split() {
        Ok(documents.clone())
    } else {
        dataset.split(split)
    }
}

/// The texts that are right for a generated one.
fn answers(target: &Value, choices: Option<&[String]>) -> Result<Vec<String>, String> {
    match (choices, as_index(target), target) {
        (Some(choices), Some(at), _) => Ok(vec![choice_at(choices, at)?.to_owned()]),
        (Some(_), None, other) => {
            let found = shown(other);
            Err(format!(
                "`doc_to_target` is {found}, expected the number of a choice"
            ))
        }
        (None, _, Value::Array(several)) => Ok(several.iter().map(as_text).collect()),
        (None, _, Value::Null) => Err("`doc_to_target` is null, expected text".into()),
        (None, _, one) => Ok(vec![as_text(one)]),
    }
}
