//! A run whose journal is read on as it grows.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::checkpoint::{CheckpointError, Run};
use crate::config::Experiment;
use crate::run::{RunError, about};
use crate::telemetry::report::About;
use crate::telemetry::{JournalError, Record, Tail};

/// Time without a record after which a run that is not finished may have stopped.
const SILENCE: Duration = Duration::from_secs(300);

/// A run cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Its folder or configuration cannot be read.
    #[error(transparent)]
    Run(#[from] CheckpointError),
    /// Its description cannot be made.
    #[error(transparent)]
    About(#[from] RunError),
    /// Its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A run on the dashboard.
#[derive(Debug)]
pub struct Watched {
    pub(super) name: String,
    pub(super) about: About,
    tail: Mutex<Tail>,
}

/// State of a run, as `/api/runs` tells it.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) name: String,
    /// Number that changes with the journal.
    pub(super) version: u64,
    /// Steps done; absent before the first.
    pub(super) step: Option<u64>,
    /// Steps planned.
    pub(super) steps: u64,
    /// Loss of the last step, in nats per token; absent if there is none, or if it is no number.
    pub(super) loss: Option<f64>,
    /// Seconds since the journal was last written; absent without a journal.
    pub(super) age_s: Option<u64>,
    /// State of the run in words.
    pub(super) state: String,
}

impl Watched {
    /// Watches the run in a folder. `name` is what it is called on the pages.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn open(path: impl Into<PathBuf>, name: String) -> Result<Self, WatchError> {
        let run = Run::open(path)?;
        let experiment: Experiment = run.config()?;
        let about = About {
            energy_missing: Some("the journal has no measurement".into()),
            ..about(&experiment, &run)?
        };
        let mut tail = Tail::new(run.metrics_path());
        tail.refresh()?;
        Ok(Self {
            name,
            about,
            tail: Mutex::new(tail),
        })
    }

    /// The journal as it is now.
    pub(super) fn now(&self) -> Result<MutexGuard<'_, Tail>, JournalError> {
        // what was read before a panic is still a beginning of the journal
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.refresh()?;
        Ok(tail)
    }

    /// The state of the run by its journal.
    pub(super) fn status(&self, tail: &Tail) -> Status {
        let written = std::fs::metadata(tail.path()).and_then(|it| it.modified());
        let now = SystemTime::now();
        let age = written
            .ok()
            .map(|at| now.duration_since(at).unwrap_or_default());
        let steps = tail.records().iter().rev();
        let last = steps.filter_map(|record| match record {
            Record::Step(step) => Some(step),
            _ => None,
        });
        let last = last.take(1).next();
        let planned = self.about.num_steps;
        let step = last.map(|it| it.step);
        Status {
            name: self.name.clone(),
            version: tail.version(),
            step,
            steps: planned,
            loss: last.map(|it| it.loss).filter(|it| it.is_finite()),
            age_s: age.map(|it| it.as_secs()),
            state: state(step, planned, age),
        }
    }
}

fn state(step: Option<u64>, planned: u64, age: Option<Duration>) -> String {
    let Some(age) = age else {
        return "no journal yet".into();
    };
    match step {
        Some(step) if step >= planned => format!("finished after {step} steps"),
        step => {
            let done = step.unwrap_or(0);
            let silent = if age > SILENCE {
                let minutes = age.as_secs() / 60;
                format!("; no record for {minutes} minutes: it may have stopped")
            } else {
                String::new()
            };
            format!("step {done} of {planned}{silent}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_tells_what_the_journal_knows() {
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(state(None, 10, None), "no journal yet");
        assert_eq!(state(None, 10, seconds(3)), "step 0 of 10");
        assert_eq!(state(Some(4), 10, seconds(3)), "step 4 of 10");
        assert_eq!(
            state(Some(4), 10, seconds(720)),
            "step 4 of 10; no record for 12 minutes: it may have stopped"
        );
        assert_eq!(state(Some(10), 10, seconds(720)), "finished after 10 steps");
    }
}
