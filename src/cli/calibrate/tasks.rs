//! Tasks before and after a carving.

use clap::Args;

use super::CalibrateArgs;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::cli::tasks::{TaskChoice, evaluated};
use crate::model::ModelConfig;
use crate::model::weights::WeightSource;
use crate::stored::Stored;
use crate::surgery::calibration::TaskScores;
use crate::surgery::sparse::Phases;
use crate::tasks::{Task, TaskScore};

/// Tasks of `calibrate`, and how much of them is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct MeasuredTasks {
    #[command(flatten)]
    choice: TaskChoice,
    /// Documents per task, the first ones
    #[arg(long, value_name = "N", default_value_t = 200, requires = "tasks")]
    task_limit: usize,
}

impl MeasuredTasks {
    /// Refuses options without tasks, and tasks where nothing is measured.
    pub(super) fn check(&self, is_carving: bool) -> Result<(), Failure> {
        self.choice.refuse_alone(&[])?;
        if self.task_limit == 0 {
            return Err(Failure::input("`--task-limit` is 0, expected 1 or more"));
        }
        if !is_carving && !self.choice.tasks.is_empty() {
            return Err(Failure::input(
                "`--tasks` is for `--mode carve`: measure copies by `evaluate --model RUN --tasks ...`",
            ));
        }
        Ok(())
    }

    /// Opens the tasks, before anything is computed.
    pub(super) fn open(&self) -> Result<Vec<Task>, Failure> {
        self.choice.open()
    }
}

/// A configuration and its weights.
pub(super) type Weighted<'a> = (&'a ModelConfig, &'a dyn WeightSource);

/// Scores of the dense model, of the carved one and, if there is one, of the recovered one, loaded one after the other;
/// `None` without tasks.
pub(super) fn scores(
    args: &CalibrateArgs,
    tasks: &[Task],
    stored: &Stored,
    (carved, recovered): (Weighted<'_>, Option<Weighted<'_>>),
    phases: &mut Phases,
) -> Result<Option<TaskScores>, Failure> {
    if tasks.is_empty() {
        return Ok(None);
    }
    let scores = |loaded: &Loaded| -> Result<Vec<TaskScore>, Failure> {
        let found = evaluated(loaded, tasks, Some(args.tasks.task_limit))?;
        Ok(found.into_iter().map(|it| it.score).collect())
    };
    phases.run("tasks", || {
        let loaded = Loaded::load(stored, None, &args.device.open()?)?;
        let dense = scores(&loaded)?;
        let loaded = loaded.exchanged(carved)?;
        let carved = scores(&loaded)?;
        let recovered = recovered.map(|it| scores(&loaded.exchanged(it)?));
        let recovered = recovered.transpose()?;
        Ok(Some(TaskScores::of(&dense, &carved, recovered.as_deref())))
    })
}
