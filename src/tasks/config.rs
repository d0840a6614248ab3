//! A task's configuration: the subset of lm-evaluation-harness' YAML that is understood here.
//!
//! A key that would change results and is not understood is refused by name; a key that only informs is kept.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::TaskError;
use super::{builtin, yaml};

/// Largest size of a task file, in bytes.
const SIZE: u64 = 1 << 20;
/// Largest number of files that include each other.
const INCLUDES: usize = 8;

/// Keys that only inform.
const INFORMATIVE: [&str; 6] = [
    "doc_to_decontamination_query",
    "group",
    "metadata",
    "should_decontaminate",
    "tag",
    "version",
];

/// Keys of lm-evaluation-harness that change results and are not understood.
const REFUSED: [&str; 12] = [
    "class",
    "custom_dataset",
    "doc_to_audio",
    "doc_to_image",
    "gen_prefix",
    "process_docs",
    "process_results",
    "task_list",
    "unsafe_code",
    "use_prompt",
    "weight_by_size",
    "aggregate_metric_list",
];

/// How a task is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The likeliest of several choices is compared with the right one.
    MultipleChoice,
    /// Log-likelihood of one continuation.
    Loglikelihood,
    /// Greedy generation, compared with a text.
    GenerateUntil,
}

/// A source of text: a field's name, a template, a fixed number or list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Field {
    Integer(i64),
    Text(String),
    List(Vec<Value>),
    Mapping(Map<String, Value>),
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text.clone()],
            Self::Many(texts) => texts.clone(),
        }
    }
}

/// Files of a data set: of the split `train`, or by split.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum DataFiles {
    Train(Texts),
    BySplit(std::collections::BTreeMap<String, Texts>),
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatasetKwargs {
    pub(super) data_files: Option<DataFiles>,
    /// Member of a JSON object that holds the records.
    pub(super) field: Option<String>,
    #[serde(rename = "trust_remote_code")]
    _trust_remote_code: Option<bool>,
}

/// How few-shot examples are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sampler {
    /// Python's `random.Random(1234).sample`.
    #[default]
    Default,
    FirstN,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FewshotConfig {
    #[serde(default)]
    pub(super) sampler: Sampler,
    pub(super) split: Option<String>,
    pub(super) samples: Option<Vec<Map<String, Value>>>,
    pub(super) doc_to_text: Option<Field>,
    pub(super) doc_to_target: Option<Field>,
    pub(super) doc_to_choice: Option<Field>,
    pub(super) target_delimiter: Option<String>,
    pub(super) fewshot_delimiter: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricConfig {
    pub(super) metric: String,
    pub(super) aggregation: Option<String>,
    pub(super) higher_is_better: Option<bool>,
    #[serde(default)]
    pub(super) ignore_case: bool,
    #[serde(default)]
    pub(super) ignore_punctuation: bool,
    #[serde(default)]
    pub(super) ignore_numbers: bool,
    pub(super) regexes_to_ignore: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterConfig {
    pub(super) name: String,
    pub(super) filter: Vec<FilterStep>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterStep {
    pub(super) function: String,
    pub(super) regex_pattern: Option<String>,
    pub(super) group_select: Option<i64>,
    pub(super) fallback: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerationKwargs {
    pub(super) until: Option<Texts>,
    pub(super) do_sample: Option<bool>,
    pub(super) temperature: Option<f64>,
    #[serde(
        alias = "max_new_tokens",
        alias = "max_tokens",
        alias = "max_completion_tokens"
    )]
    pub(super) max_gen_toks: Option<usize>,
}

/// A task's configuration, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct TaskConfig {
    pub(super) task: String,
    pub(super) task_alias: Option<String>,
    pub(super) dataset_path: String,
    pub(super) dataset_name: Option<String>,
    #[serde(default)]
    pub(super) dataset_kwargs: DatasetKwargs,
    pub(super) training_split: Option<String>,
    pub(super) validation_split: Option<String>,
    pub(super) test_split: Option<String>,
    pub(super) fewshot_split: Option<String>,
    pub(super) doc_to_text: Field,
    pub(super) doc_to_target: Field,
    pub(super) doc_to_choice: Option<Field>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default = "space")]
    pub(super) target_delimiter: String,
    #[serde(default = "empty_line")]
    pub(super) fewshot_delimiter: String,
    #[serde(default)]
    pub(super) fewshot_config: FewshotConfig,
    pub(super) num_fewshot: Option<usize>,
    pub(super) metric_list: Option<Vec<MetricConfig>>,
    #[serde(default = "generate_until")]
    pub(super) output_type: OutputType,
    #[serde(default)]
    pub(super) generation_kwargs: GenerationKwargs,
    #[serde(default = "once")]
    pub(super) repeats: usize,
    pub(super) filter_list: Option<Vec<FilterConfig>>,
    /// Everything that the files say.
    #[serde(skip)]
    pub(super) stated: Map<String, Value>,
    /// Folder of the task file; absent for built-in tasks.
    #[serde(skip)]
    pub(super) folder: Option<PathBuf>,
}

fn space() -> String {
    " ".into()
}

fn empty_line() -> String {
    "\n\n".into()
}

fn generate_until() -> OutputType {
    OutputType::GenerateUntil
}

fn once() -> usize {
    1
}

impl TaskConfig {
    /// Reads a task file, or the built-in task of that name.
    pub(super) fn open(name: &str) -> Result<Self, TaskError> {
        if let Some(stated) = builtin::stated(name)? {
            return Self::of(stated, name, None);
        }
        let path = Path::new(name);
        if !path.is_file() && path.extension().is_none() {
            return Err(TaskError::Unknown {
                name: name.into(),
                known: builtin::NAMES.join(", "),
            });
        }
        let stated = merged(path, INCLUDES)?;
        Self::of(stated, name, Some(path.parent().unwrap_or(path).into()))
    }

    fn of(
        stated: Map<String, Value>,
        place: &str,
        folder: Option<PathBuf>,
    ) -> Result<Self, TaskError> {
        let fault = |reason: String| TaskError::Config {
            place: place.into(),
            reason,
        };
        check_keys(&stated).map_err(fault)?;
        let known = stated.iter().filter(|(key, value)| {
            !value.is_null() && !INFORMATIVE.contains(&key.as_str()) && *key != "unsafe_code"
        });
        let known: Map<_, _> = known.map(|(key, it)| (key.clone(), it.clone())).collect();
        let config: Result<Self, _> = serde_path_to_error::deserialize(Value::Object(known));
        let mut config = config.map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner().to_string();
            fault(match path.as_str() {
                "." => reason,
                _ => format!("`{path}`: {reason}"),
            })
        })?;
        config.stated = stated;
        config.folder = folder;
        config.check().map_err(fault)?;
        Ok(config)
    }

    /// Checks values that deserialize and cannot be followed.
    fn check(&self) -> Result<(), String> {
        if self.repeats != 1 {
            return Err(format!("`repeats` is {}, expected 1", self.repeats));
        }
        if self.test_split.is_none() && self.validation_split.is_none() {
            return Err("`test_split` or `validation_split` is missing".into());
        }
        let is_choice = self.output_type == OutputType::MultipleChoice;
        if is_choice && self.doc_to_choice.is_none() {
            return Err("`doc_to_choice` is missing, which `multiple_choice` needs".into());
        }
        let GenerationKwargs {
            do_sample,
            temperature,
            ..
        } = self.generation_kwargs;
        if do_sample == Some(true) || do_sample.is_none() && temperature.is_some_and(|it| it > 0.0)
        {
            return Err(
                "`generation_kwargs` ask for sampling, expected `do_sample: false`: only greedy generation is scored"
                    .into(),
            );
        }
        Ok(())
    }

    /// The split that is evaluated.
    pub(super) fn split(&self) -> &str {
        let split = self.test_split.as_deref();
        split.or(self.validation_split.as_deref()).unwrap_or("test")
    }

    /// The split of few-shot examples, if it is named for them.
    pub(super) fn stated_fewshot_split(&self) -> Option<&str> {
        let own = self.fewshot_config.split.as_deref();
        own.or(self.fewshot_split.as_deref())
    }

    /// Version, as lm-evaluation-harness reports it.
    pub(super) fn version(&self) -> Value {
        let version = self.stated.get("metadata").and_then(|it| it.get("version"));
        version.cloned().unwrap_or_else(|| "Yaml".into())
    }
}

/// Refuses keys that are not understood.
fn check_keys(stated: &Map<String, Value>) -> Result<(), String> {
    const KNOWN: [&str; 21] = [
        "dataset_kwargs",
        "dataset_name",
        "dataset_path",
        "description",
        "doc_to_choice",
        "doc_to_target",
        "doc_to_text",
        "fewshot_config",
        "fewshot_delimiter",
        "fewshot_split",
        "filter_list",
        "generation_kwargs",
        "metric_list",
        "num_fewshot",
        "output_type",
        "repeats",
        "target_delimiter",
        "task",
        "task_alias",
        "test_split",
        "training_split",
    ];
    for (key, value) in stated {
        let is_known = KNOWN.contains(&key.as_str()) || key == "validation_split";
        let says_nothing = value.is_null() || key == "unsafe_code" && *value == Value::Bool(false);
        if is_known || says_nothing || INFORMATIVE.contains(&key.as_str()) {
            continue;
        }
        return Err(if REFUSED.contains(&key.as_str()) {
            format!("`{key}` changes the results and is not supported")
        } else {
            format!("`{key}` is no key of a task")
        });
    }
    for key in ["task", "dataset_path", "doc_to_text", "doc_to_target"] {
        if stated.get(key).is_none_or(Value::is_null) {
            return Err(format!("`{key}` is missing"));
        }
    }
    match stated.get("task") {
        Some(Value::String(_)) => Ok(()),
        _ => {
            Err("`task` is not a name: groups of tasks are not supported, name their tasks".into())
        }
    }
}

/// Entries of a task file, over those of the files that it includes.
fn merged(path: &Path, includes_left: usize) -> Result<Map<String, Value>, TaskError> {
    let text = read(path)?;
    let fault = |line: Option<usize>, reason: String| TaskError::Config {
        place: match line {
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        },
        reason,
    };
    let parsed = yaml::parse(&text).map_err(|it| fault(Some(it.line), it.reason))?;
    let Value::Object(mut own) = parsed else {
        return Err(fault(
            None,
            "this is no task: expected `key: value` lines".into(),
        ));
    };
    let Some(include) = own.remove("include") else {
        return Ok(own);
    };
    let include: Texts = serde_json::from_value(include).map_err(|_| {
        fault(
            None,
            "`include` is neither a path nor a list of paths".into(),
        )
    })?;
    if includes_left == 0 {
        return Err(fault(
            None,
            format!("`include` goes deeper than {INCLUDES} files"),
        ));
    }
    let mut all = Map::new();
    for included in include.list() {
        let beside = path.parent().unwrap_or(path).join(included);
        all.extend(merged(&beside, includes_left - 1)?);
    }
    all.extend(own);
    Ok(all)
}

fn read(path: &Path) -> Result<String, TaskError> {
    let failed = |source| TaskError::Read {
        path: path.into(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(SIZE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > SIZE {
        return Err(TaskError::Config {
            place: path.display().to_string(),
            reason: format!("the file is larger than {SIZE} bytes, too large for a task"),
        });
    }
    Ok(text)
}

/// Parses the text of a built-in task.
pub(super) fn parse_builtin(name: &str, text: &str) -> Result<Map<String, Value>, TaskError> {
    let fault = |reason: String| TaskError::Config {
        place: name.into(),
        reason,
    };
    match yaml::parse(text).map_err(|it| fault(it.reason))? {
        Value::Object(entries) => Ok(entries),
        _ => Err(fault("this is no task".into())),
    }
}
