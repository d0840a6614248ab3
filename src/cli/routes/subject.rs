//! The model to study, and the one to compare it with.

use std::path::PathBuf;

use darkhorse_backends::select::Selected;

use crate::checkpoint::Run;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model_args::{AdapterArgs, ModelOrNewestArgs};
use crate::cli::newest::newest;
use crate::cli::stored;
use crate::model::{FeedForwardPlan, ModelConfig};
use crate::stored::Stored;
use crate::study::StudyError;

/// The model to study.
pub(super) struct Subject {
    pub(super) name: String,
    path: PathBuf,
    adapter: AdapterArgs,
    run: Option<Run>,
}

impl Subject {
    pub(super) fn find(model: &ModelOrNewestArgs) -> Result<Self, Failure> {
        let (path, adapter) = match model.named()? {
            Some((path, adapter)) => (path.to_owned(), adapter.clone()),
            None => (newest(None)?.path().to_owned(), AdapterArgs::default()),
        };
        let is_run = path.join("checkpoints").is_dir();
        let run = is_run.then(|| Run::open(&path)).transpose().or_input()?;
        Ok(Self {
            name: adapter.name(&path),
            path,
            adapter,
            run,
        })
    }

    pub(super) fn run_folder(&self) -> Option<PathBuf> {
        self.run.as_ref().map(|run| run.path().to_owned())
    }

    pub(super) fn stored(&self) -> Result<Stored, Failure> {
        Ok(self.adapter.open(&self.path)?)
    }

    /// Opens the model to compare with, and returns its name.
    pub(super) fn other(&self, other: &Other) -> Result<(String, Stored), Failure> {
        let step = match other {
            Other::Model(path) => return Ok((path.display().to_string(), stored::open(path)?)),
            Other::Step(step) => *step,
        };
        let Some(run) = &self.run else {
            return Err(Failure::input(format!(
                "`--against {step}` names a step, but {} is no run: name a model by its path",
                self.name
            )));
        };
        let Some(saved) = run.checkpoint(step).or_input()? else {
            let steps = run.checkpoints().or_input()?.into_iter();
            let steps: Vec<String> = steps.map(|it| it.step().to_string()).collect();
            return Err(Failure::input(format!(
                "`--against {step}`: {} has no checkpoint of step {step}; it has those of {}",
                self.name,
                steps.join(", ")
            )));
        };
        let stored = Stored::of_checkpoint::<Selected>(run, &saved)?;
        Ok((format!("{} at step {step}", self.name), stored))
    }
}

/// A model to compare choices with.
#[derive(Debug, Clone)]
pub(super) enum Other {
    /// Another step of the same run.
    Step(u64),
    /// Another model.
    Model(PathBuf),
}

impl std::str::FromStr for Other {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(step) => Self::Step(step),
            Err(_) => Self::Model(text.into()),
        })
    }
}

/// Refuses a model without routers, before anything is read.
pub(super) fn check_routes(model: &ModelConfig) -> Result<(), Failure> {
    let plan = model.plan().into_iter();
    let mut feed_forwards = plan.map(|layer| layer.feed_forward);
    if feed_forwards.any(|it| matches!(it, FeedForwardPlan::Moe(_))) {
        return Ok(());
    }
    Err(StudyError::Dense).or_input()
}

pub(super) fn check_vocabulary(model: &ModelConfig, other: &ModelConfig) -> Result<(), Failure> {
    if model.vocab_size == other.vocab_size {
        return Ok(());
    }
    let tokens = |model: &ModelConfig| format!("a vocabulary of {}", model.vocab_size);
    Err(StudyError::Unlike {
        found: tokens(other),
        expected: tokens(model),
    })
    .or_input()
}
