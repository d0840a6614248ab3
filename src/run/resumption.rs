//! Resuming a run: which settings may change, and which would make it another run.
//!
//! Settings of *how* to train (steps, learning rate, schedule, batches) apply from the next step on. The data stream
//! keeps its position in documents and tokens, so rows and batches of another shape continue with the token after the
//! last one trained. Another model, tokenizer, seed or mix cannot continue from that position: it is refused by name.

use std::fmt;

use serde_json::Value;

use super::change::{Change, differences};
use super::error::RunError;
use super::state::{self, ORIGIN_FILE};
use crate::checkpoint::{Checkpoint, Run};
use crate::config::Experiment;

/// A run that is about to be resumed.
#[derive(Debug)]
pub struct Resumption {
    /// The run.
    pub run: Run,
    /// The experiment from now on.
    pub experiment: Experiment,
    /// Checkpoint to resume from; none: the run starts at step 0.
    pub from: Option<Checkpoint>,
    /// Settings that differ from the run's so far.
    pub changes: Vec<Change>,
}

impl Resumption {
    /// Locks the run, finds its last checkpoint and checks what `experiment` changes.
    ///
    /// # Errors
    ///
    /// [`RunError::Finished`] if all steps are done, [`RunError::Unchangeable`] for a setting that a run cannot
    /// change, [`RunError::NotTrained`], [`RunError::NothingToResume`], or the error of a damaged checkpoint.
    pub fn of(run: Run, experiment: Experiment) -> Result<Self, RunError> {
        let run = run.locked()?;
        let from = run.latest()?;
        run.settle()?;
        let before: Experiment = run.config_at(from.as_ref())?;
        if let Some(last) = &from
            && !state::is_of_training(last)
        {
            return Err(RunError::NotTrained {
                path: run.path().into(),
                quantized: before.model.quantization.is_some(),
            });
        }
        let changes = changes(&before, &experiment)?;
        match &from {
            None if run.json::<Value>(ORIGIN_FILE)?.is_some() => {
                return Err(RunError::NothingToResume {
                    path: run.path().into(),
                });
            }
            Some(last) if is_done(&run, last, experiment.training.steps) => {
                return Err(RunError::Finished {
                    done: last.step(),
                    asked: experiment.training.steps,
                });
            }
            _ => {}
        }
        Ok(Self {
            run,
            experiment,
            from,
            changes,
        })
    }
}

/// Whether all steps are done and reported. A run that was killed in its last evaluation has done its steps and is
/// not done.
fn is_done(run: &Run, last: &Checkpoint, steps: u64) -> bool {
    last.step() > steps || last.step() == steps && run.is_reported_since(last)
}

impl fmt::Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.experiment.training.steps;
        match self.from.as_ref().map(Checkpoint::step) {
            None => write!(f, "no checkpoint yet: starting at step 0 of {steps}")?,
            Some(step) => write!(f, "resuming at step {step} of {steps}")?,
        }
        for (number, change) in self.changes.iter().enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}{change}")?;
        }
        Ok(())
    }
}

/// The settings that `now` changes in a run trained with `before` so far.
///
/// # Errors
///
/// [`RunError::Unchangeable`] for the first setting that a run cannot change.
pub fn changes(before: &Experiment, now: &Experiment) -> Result<Vec<Change>, RunError> {
    let changes = differences(before, now)?;
    match changes.iter().find(|change| !may_change(&change.field)) {
        None => Ok(changes),
        Some(change) => Err(RunError::Unchangeable(Box::new(change.clone()))),
    }
}

/// The changes that concern the training and validation data.
pub(super) fn of_data(mut changes: Vec<Change>) -> Vec<Change> {
    changes.retain(|change| change.field.starts_with("data."));
    changes
}

/// Whether a run may change a setting. Files of data may move, since the stream compares their content.
fn may_change(field: &str) -> bool {
    match field.split_once('.') {
        Some(("training", setting)) => setting != "seed" && !is_of_lora(setting),
        Some(("data", setting)) => ["train", "valid"].contains(&setting),
        _ => false,
    }
}

/// Whether a setting of the training shapes the adapters, which have optimizer moments.
fn is_of_lora(setting: &str) -> bool {
    setting.split('.').next() == Some("lora")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lora::LoraConfig;
    use crate::training::schedule::ScheduleConfig;

    fn changed(change: impl FnOnce(&mut Experiment)) -> Result<Vec<String>, String> {
        let before = Experiment::preset("tiny").unwrap();
        let mut now = before.clone();
        change(&mut now);
        let changes = changes(&before, &now).map_err(|error| error.to_string())?;
        Ok(changes.iter().map(Change::to_string).collect())
    }

    #[test]
    fn how_to_train_may_change_and_is_told() {
        assert_eq!(changed(|_| ()).unwrap(), [""; 0]);
        let lines = changed(|it| {
            it.training.steps = 900;
            it.training.learning_rate = 0.5;
            it.data.train = vec!["moved.jsonl".into()];
        });
        let lines = lines.unwrap();
        assert_eq!(lines[0], "data.train [] -> [\"moved.jsonl\"]");
        assert!(lines[1].ends_with(" -> 0.5"), "{lines:?}");
        assert!(lines[2].starts_with("steps 500 -> 900"), "{lines:?}");
        let schedule = changed(|it| {
            it.training.schedule = ScheduleConfig::Cosine {
                warmup: 0.05,
                min_ratio: 0.1,
            }
        });
        assert_eq!(schedule.unwrap().len(), 1);
    }

    #[test]
    fn what_makes_it_another_run_is_refused_by_name() {
        type Change = fn(&mut Experiment);
        let refused: [(Change, &str); 5] = [
            (|it| it.training.seed = 7, "`training.seed` is 7"),
            (
                |it| it.training.lora = Some(LoraConfig::of_rank(4)),
                "`training.lora` is {",
            ),
            (|it| it.model.vocab_size = 300, "`model.vocab_size` is 300"),
            (
                |it| it.data.domain_dropout = 0.25,
                "`data.domain_dropout` is 0.25",
            ),
            (
                |it| it.tokenizer = crate::config::TokenizerConfig::File("x".into()),
                "`tokenizer",
            ),
        ];
        for (change, start) in refused {
            let message = changed(change).unwrap_err();
            assert!(message.starts_with(start), "{message}");
            assert!(message.contains("began with"), "{message}");
        }
    }
}
