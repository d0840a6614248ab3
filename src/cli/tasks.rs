//! `evaluate --tasks`: scores of a model on questions with known answers.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::notice;
use crate::cli::output;
use crate::cli::whole_file::write_whole;
use crate::tasks::{Evaluated, ScoreTable, Task, TaskOptions, evaluate_task, lm_eval_layout};

/// Which tasks are asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct TaskChoice {
    /// Tasks to measure by, separated by commas: files in lm-evaluation-harness' YAML, or arc_easy, arc_challenge,
    /// boolq, hellaswag, winogrande, commonsense_qa, openbookqa, sciq, piqa [default: none]
    #[arg(long, value_name = "FILE|NAME", value_delimiter = ',')]
    pub(crate) tasks: Vec<String>,
    /// Folder of data sets as they lie on Hugging Face's hub, such as DIR/ai2_arc/ARC-Easy/test-00000-of-00001.parquet,
    /// for tasks that are named [default: none]
    #[arg(long, value_name = "DIR")]
    task_data: Option<PathBuf>,
    /// Examples before each question [default: as the task says, or 0]
    #[arg(long, value_name = "N")]
    num_fewshot: Option<usize>,
}

impl TaskChoice {
    /// Refuses options of tasks without tasks.
    pub(crate) fn refuse_alone(&self, others: &[(&str, bool)]) -> Result<(), Failure> {
        let own = [
            ("--task-data", self.task_data.is_some()),
            ("--num-fewshot", self.num_fewshot.is_some()),
        ];
        let mut given = own.iter().chain(others);
        match given.find(|(_, is_given)| *is_given) {
            Some((option, _)) if self.tasks.is_empty() => Err(Failure::input(format!(
                "`{option}` is about tasks: name them by `--tasks FILE`"
            ))),
            _ => Ok(()),
        }
    }

    /// Opens the tasks, before a model is loaded.
    pub(crate) fn open(&self) -> Result<Vec<Task>, Failure> {
        let options = TaskOptions {
            data: self.task_data.clone(),
            num_fewshot: self.num_fewshot,
        };
        let tasks = self.tasks.iter().map(|name| Task::open(name, &options));
        let tasks = tasks.collect::<Result<Vec<_>, _>>().or_input()?;
        for (at, task) in tasks.iter().enumerate() {
            if tasks[..at].iter().any(|other| other.name() == task.name()) {
                let name = task.name();
                return Err(Failure::input(format!("the task `{name}` is given twice")));
            }
        }
        Ok(tasks)
    }
}

/// Scores of a model on the first `limit` documents of each task, with a bar that shows the progress.
pub(crate) fn evaluated(
    loaded: &Loaded,
    tasks: &[Task],
    limit: Option<usize>,
) -> Result<Vec<Evaluated>, Failure> {
    let subject = loaded.subject()?;
    let found = tasks.iter().map(|task| {
        let bar = notice::bar(0);
        bar.set_message(task.name().to_owned());
        let found = evaluate_task(&subject, task, limit, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        found.or_input()
    });
    found.collect()
}

/// Tasks of `evaluate`, and how much of them is asked.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("tasks", |arg| arg.conflicts_with_all(MEASURES_OF_LOSS)))]
pub(crate) struct TaskArgs {
    #[command(flatten)]
    choice: TaskChoice,
    /// Documents per task, the first ones [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// File for the answers, one JSON object per document and filter [default: they are not kept]
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

/// Options that are about the loss on documents.
const MEASURES_OF_LOSS: [&str; 8] = [
    "data",
    "batch_size",
    "seq_len",
    "batch_aware",
    "ttt",
    "skip_bad_lines",
    "unknown_domain",
    "text_field",
];

impl TaskArgs {
    /// Whether tasks are asked.
    pub(crate) fn are_asked(&self) -> bool {
        !self.choice.tasks.is_empty()
    }

    /// Refuses options of tasks without tasks.
    pub(crate) fn refuse_alone(&self) -> Result<(), Failure> {
        self.choice.refuse_alone(&[
            ("--limit", self.limit.is_some()),
            ("--samples", self.samples.is_some()),
        ])
    }

    /// Opens the tasks, before a model is loaded.
    pub(crate) fn open(&self) -> Result<Vec<Task>, Failure> {
        if self.limit == Some(0) {
            return Err(Failure::input("`--limit` is 0, expected 1 or more"));
        }
        self.choice.open()
    }

    /// Evaluates the tasks and prints their scores.
    pub(crate) fn evaluate(
        &self,
        loaded: &Loaded,
        tasks: &[Task],
        as_json: bool,
    ) -> Result<(), Failure> {
        let (mut scores, mut samples) = (Vec::new(), Vec::new());
        for found in evaluated(loaded, tasks, self.limit)? {
            scores.push(found.score);
            if self.samples.is_some() {
                samples.extend(found.samples);
            }
        }
        if let Some(path) = &self.samples {
            write_whole(path, |file| {
                samples
                    .iter()
                    .try_for_each(|sample| writeln!(file, "{sample}"))
            })?;
        }
        if !as_json {
            return output::text(ScoreTable(&scores));
        }
        let mut results = lm_eval_layout(&scores);
        results["config"] = json!({
            "model": "darkhorse-genesis",
            "model_dtype": loaded.held.name(),
            "limit": self.limit,
            "bootstrap_iters": 100_000,
            "fewshot_seed": 1234,
        });
        results["max_length"] = loaded.subject()?.limits.context.into();
        output::line(serde_json::to_string_pretty(&results)?)
    }
}
