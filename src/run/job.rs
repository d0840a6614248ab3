//! A training run: from an experiment to a trained model in a folder.

use std::path::Path;

use super::draft::{Draft, Given, TokenizedTexts};
use super::error::RunError;
use super::evaluation::has_evaluation;
use super::resumption::{Resumption, of_data};
use super::state;
use super::stop::Stop;
use super::texts::stream_config;
use crate::checkpoint::{Beginning, Checkpoint, Run};
use crate::config::Experiment;
use crate::data::{DataError, Position, Progress, Stream};
use crate::telemetry::read_journal;
use crate::tokenizer::Tokenizer;

/// A run with its folder, ready to be trained.
///
/// ```no_run
/// use std::path::Path;
///
/// use darkhorse_genesis::backends::select::{Selected, default_device};
/// use darkhorse_genesis::burn::backend::Autodiff;
/// use darkhorse_genesis::config::Experiment;
/// use darkhorse_genesis::data::Progress;
/// use darkhorse_genesis::run::{Job, Screen};
///
/// let mut experiment = Experiment::preset("tiny")?;
/// experiment.data.train = vec!["my-text.txt".into()];
/// let (run, cache) = (Path::new("runs/mine"), Path::new("runs/.cache"));
/// let job = Job::create(experiment, run, cache, Progress::Shown)?;
/// let trained = job.train::<Autodiff<Selected>>(&default_device(), Screen::Lines)?;
/// println!("{:?}", trained.evaluation.map(|evaluation| evaluation.loss));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Job {
    /// The experiment: model, data and training settings.
    pub experiment: Experiment,
    /// The run's folder.
    pub run: Run,
    /// The run's tokenizer.
    pub tokenizer: Tokenizer,
    /// The tokenized text.
    pub texts: TokenizedTexts,
    /// Requests an early stop of the training.
    pub stop: Stop,
    pub(super) from: Option<Checkpoint>,
    /// Of a new run: removes its folder if training fails before it has saved anything.
    pub(super) beginning: Option<Beginning>,
}

impl Job {
    /// Prepares a new run: reads and tokenizes the text, then makes the run's folder.
    ///
    /// # Errors
    ///
    /// The text, the tokenizer or the folder cannot be used; no folder is left behind.
    pub fn create(
        experiment: Experiment,
        folder: &Path,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        Run::check_new(folder)?;
        Draft::open(experiment, None, cache, progress)?.begin(folder)
    }

    /// Prepares a new run that starts from an existing model, whose weights are given to
    /// [`train_model`](Self::train_model).
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create), and a tokenizer with more tokens than the model.
    pub fn fine_tune(
        experiment: Experiment,
        given: Given,
        folder: &Path,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        Run::check_new(folder)?;
        Draft::open(experiment, Some(given), cache, progress)?.begin(folder)
    }

    fn begin(draft: Draft, folder: &Path) -> Result<Self, RunError> {
        let Draft {
            experiment,
            tokenizer,
            origin,
            texts,
        } = draft;
        // text that cannot fill the stream is refused before there is a folder
        Stream::new(
            texts.train.clone(),
            stream_config(&experiment)?,
            Position::default(),
        )?;
        let (run, beginning) = Run::begin(folder, &experiment, |run| {
            tokenizer.save(&run.tokenizer_path())?;
            if let Some(origin) = &origin {
                run.write_json(state::ORIGIN_FILE, origin)?;
            }
            Ok::<_, RunError>(())
        })?;
        run.settle()?;
        Ok(Self {
            experiment,
            run,
            tokenizer,
            texts,
            stop: Stop::default(),
            from: None,
            beginning: Some(beginning),
        })
    }

    /// Prepares to resume a run from its last checkpoint, or from its start if it has none. Changes in `experiment`
    /// apply from the next step on, and are saved with the next checkpoint.
    ///
    /// # Errors
    ///
    /// Those of [`Resumption::of`], and text that cannot be read.
    pub fn resume(
        experiment: Experiment,
        run: Run,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        Self::go_on(Resumption::of(run, experiment)?, cache, progress)
    }

    /// Prepares a [`Resumption`] for training.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherText`], or text that cannot be read.
    pub fn go_on(
        resumption: Resumption,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        let Resumption {
            run,
            experiment,
            from,
            changes,
        } = resumption;
        let Draft {
            experiment,
            tokenizer,
            texts,
            ..
        } = Draft::of_run(experiment, &run, cache, progress)?;
        // another text than the run's is refused before anything else
        let position = from.as_ref().map(state::position).transpose()?;
        Stream::new(
            texts.train.clone(),
            stream_config(&experiment)?,
            position.unwrap_or_default(),
        )
        .map_err(|error| match error {
            DataError::Position { .. } => RunError::OtherText(of_data(changes)),
            error => error.into(),
        })?;
        Ok(Self {
            experiment,
            run,
            tokenizer,
            texts,
            stop: Stop::default(),
            from,
            beginning: None,
        })
    }

    /// Whether the new run replaces one that had no checkpoint.
    pub fn replaces_a_run(&self) -> bool {
        let beginning = self.beginning.as_ref();
        beginning.is_some_and(Beginning::replaces_a_run)
    }

    /// Whether training starts with an evaluation of the validation text.
    pub fn measures_first(&self) -> bool {
        let known = read_journal(self.run.metrics_path()).unwrap_or_default();
        self.steps_done() == 0 && self.texts.valid.is_some() && !has_evaluation(&known, 0)
    }

    /// Number of steps that are done already.
    pub fn steps_done(&self) -> u64 {
        self.from.as_ref().map_or(0, Checkpoint::step)
    }
}

impl Draft {
    /// Makes the run's folder.
    ///
    /// # Errors
    ///
    /// The folder is in use or cannot be created.
    pub fn begin(self, folder: &Path) -> Result<Job, RunError> {
        Job::begin(self, folder)
    }
}
