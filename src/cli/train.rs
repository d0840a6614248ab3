//! `train`: trains a model on text.

mod announcement;
mod cache;
mod choice;
mod lora;
mod room;
mod settings;
mod signals;
mod start;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::model::CausalLm;
use crate::model::lora::Adaptation;
use crate::model::weights::Merged;
use crate::run::Draft;
use crate::run::Ending;
use crate::run::Job;
use crate::run::RunError;
use crate::run::Screen;
use crate::run::state::MODEL_FILE;
use crate::run::{Change, Resumption, differences};
use crate::selected;
use crate::telemetry::EvaluationTable;
use crate::tokenizer::Tokenizer;
use burn::backend::Autodiff;
use clap::Args;
use darkhorse_backends::select::{self, Device, Selected};

use crate::cli::args::DeviceArgs;
use crate::cli::device;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::logging;
use crate::cli::model_args::AdapterArgs;
use crate::cli::newest::{RUNS, new_run, newest_begun};
use crate::cli::notice;
use crate::cli::output;
use crate::stored::{as_model_takes, check_weights};
use announcement::Announcement;
use cache::Cache;
use choice::{Chosen, ModelArgs};
use lora::LoraArgs;
use settings::{DataArgs, TrainingArgs};
use signals::Signals;
use start::Start;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis train --params tiny
  darkhorse-genesis train --data mine.jsonl
  darkhorse-genesis train --params 5b --data ./data/train.jsonl --steps 1000
  darkhorse-genesis train --config mine.json --data a.jsonl.zst b.parquet --train-tokenizer 8192
  darkhorse-genesis train --data corpus/ --mix code=0.3,math=0.2 --out runs/mixed
  darkhorse-genesis train --out runs/mixed --resume
  darkhorse-genesis train --init-from ./Mixtral-small --data mine.jsonl --learning-rate 1e-5
  darkhorse-genesis train --init-from ./Mixtral-small --adapter ./lora --data mine.jsonl
  darkhorse-genesis train --init-from ./SmolLM2 --lora-rank 8 --data mine.jsonl --learning-rate 2e-4

Ctrl-C or SIGTERM ends the step, saves and stops, with exit code 130 or 143; a second one stops at once. What options \
change beside --resume, as --steps and --learning-rate, is the run's from the next checkpoint on.";

/// A model that training starts from.
type Model = CausalLm<Autodiff<Selected>>;

/// Train a model
///
/// Without --data the embedded corpus of ten domains is read.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Folder of the run [default: a new one in runs/, or with --resume the newest one there]
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Resume a run from its last checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Start from the weights, configuration and tokenizer of a model: a run, a Hugging Face folder, a .safetensors,
    /// .ot or .gguf file
    #[arg(long, value_name = "PATH", conflicts_with_all = ["params", "config", "resume", "train_tokenizer"])]
    init_from: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    lora: LoraArgs,
}

impl TrainArgs {
    /// The run to resume, if one is asked for.
    fn resumed_run(&self) -> Result<Option<Run>, Failure> {
        match (&self.out, self.resume) {
            (_, false) => Ok(None),
            (Some(folder), true) => Ok(Some(Run::open(folder).or_input()?)),
            (None, true) => match newest_begun(RUNS).or_input()? {
                Some(run) => Ok(Some(run)),
                None => Err(Failure::input(format!(
                    "no run in `{RUNS}/` to go on with: name one with `--out RUN`"
                ))),
            },
        }
    }

    /// Refuses a preset or a file beside `--resume` that is of another model than the run's. Its other settings are
    /// ignored, and the user is told so.
    fn refuse_another_model(&self, run: &Run, own: &Experiment) -> Result<(), Failure> {
        let (Some(asked), Some(name)) = (self.model.load()?, self.model.named()) else {
            return Ok(());
        };
        let argument = if self.model.config.is_some() {
            "`--config`"
        } else {
            "`--params`"
        };
        let changes = differences(&self.changed(asked.clone())?, own)?;
        let of_model = |it: &&Change| it.field.starts_with("model.");
        if let Some(Change { field, before, now }) = changes.iter().find(of_model) {
            return Err(Failure::input(format!(
                "`{field}` is {before} in `{name}`, but {now} in run `{}`: leave `--resume` out to train another model, or \
                 {argument} out to go on with this one",
                run.path().display(),
            )));
        }
        let changes = differences(&asked, own)?;
        let of_training = |it: &&Change| it.field.starts_with("training.");
        let ignored = changes.iter().filter(of_training);
        let ignored: Vec<_> = ignored
            .map(|it| format!("{} {}", it.field, it.before))
            .collect();
        if self.model.config.is_some() && !ignored.is_empty() {
            notice::tell(format_args!(
                "with `--resume`, `--config` names the model only: {} is not taken, give options to change the run",
                ignored.join(", ")
            ));
        }
        Ok(())
    }

    /// The experiment of a run to resume, before the arguments change it.
    fn own(&self, run: &Run) -> Result<Experiment, Failure> {
        let own: Experiment = run.config().or_input()?;
        self.refuse_another_model(run, &own)?;
        Ok(own)
    }

    /// Refuses a tokenizer beside `--resume` that is not the run's.
    fn refuse_another_tokenizer(&self, run: &Run, own: &Experiment) -> Result<(), Failure> {
        let Some(path) = &self.data.tokenizer else {
            return Ok(());
        };
        let kept = Tokenizer::from_file(&run.tokenizer_path()).or_input()?;
        let named = Tokenizer::from_file(path).or_input()?;
        // a fine-tuned run has the tokenizer as its model takes it
        let is_same = named.digest() == kept.digest()
            || as_model_takes(named, &own.model)?.digest() == kept.digest();
        if is_same {
            Ok(())
        } else {
            Err(Failure::input(format!(
                "`{}` is another tokenizer than that of run `{}`, whose weights go with its own: leave `--tokenizer` out \
                 to go on with the run, or `--resume` to train another one",
                path.display(),
                run.path().display(),
            )))
        }
    }

    /// The experiment of a run to resume, with the arguments applied.
    fn changed_run(&self, run: &Run, own: Experiment) -> Result<Experiment, Failure> {
        self.refuse_another_tokenizer(run, &own)?;
        let (valid, tokenizer) = (own.data.valid.clone(), own.tokenizer.clone());
        let mut experiment = self.changed(own)?;
        if experiment.data.valid.is_empty() && !self.data.goes_without() {
            // other training text is still compared on the same validation text
            experiment.data.valid = valid;
        }
        if self.data.tokenizer.is_some() {
            // the tokenizer is the same, even if its file has moved
            experiment.tokenizer = tokenizer;
        }
        Ok(experiment)
    }

    /// The model that a new run starts from, if one is named.
    fn start(&self) -> Result<Option<Start>, Failure> {
        let Some(path) = &self.init_from else {
            self.adapter.refuse_alone("--init-from")?;
            return Ok(None);
        };
        let stored = self.adapter.open(path)?;
        Start::of(stored, self.data.tokenizer.as_deref()).map(Some)
    }

    /// Folder of a new run.
    fn folder(&self, chosen: Option<&Chosen>) -> PathBuf {
        let name = || match (&self.init_from, chosen) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(chosen)) => chosen.preset.to_owned(),
            (None, None) => self.model.named().unwrap_or_default(),
        };
        self.out.clone().unwrap_or_else(|| new_run(&name()))
    }

    /// The named experiment, or one with a preset chosen to fit the data.
    fn experiment(&self) -> Result<(Experiment, Option<Chosen>), Failure> {
        if let Some(experiment) = self.model.load()? {
            return Ok((experiment, None));
        }
        let memory = device::memory_bytes(self.device.device.as_ref());
        let chosen = Chosen::of(self.data.source()?.as_ref(), memory)?;
        let mut experiment = Experiment::preset(chosen.preset)?;
        self.data.fit_vocabulary(&mut experiment)?;
        Ok((experiment, Some(chosen)))
    }

    /// Sets the number of steps if epochs were given or the preset was chosen for the data.
    fn settle(&self, draft: &mut Draft, chosen: Option<&Chosen>) -> Result<(), Failure> {
        let Draft {
            experiment, texts, ..
        } = &*draft;
        let steps = self
            .training
            .steps_of_epochs(&experiment.training, texts.epoch_tokens)?;
        // the embedded corpus is for a preset that states its steps
        let is_own = !experiment.data.train.is_empty();
        let fitting = chosen.filter(|_| is_own && !self.training.has_length());
        let steps = steps.or_else(|| fitting.map(|chosen| chosen.steps(draft)));
        draft.experiment.training.steps = steps.unwrap_or(draft.experiment.training.steps);
        draft.experiment.validate().or_input()
    }

    /// Prepares a new run. Also returns the reason for its preset if that was chosen automatically.
    fn begin(
        &self,
        experiment: Experiment,
        (start, chosen): (Option<Start>, Option<Chosen>),
        (folder, cache): (&Path, &Path),
    ) -> Result<Announced, Failure> {
        let mut draft = match start {
            Some(start) => start.draft(experiment, folder, cache)?,
            None => Draft::open(experiment, None, cache, notice::progress()).or_input()?,
        };
        self.settle(&mut draft, chosen.as_ref())?;
        let reason = chosen.map(|chosen| chosen.reason(&draft));
        Ok((draft.begin(folder).or_input()?, reason))
    }

    /// The experiment of a run to resume, with its steps set if epochs were given.
    fn resumed(&self, run: &Run, mut experiment: Experiment) -> Result<Experiment, Failure> {
        if self.training.epochs.is_some() {
            let cache = Cache::open()?;
            let progress = notice::progress();
            let draft = Draft::of_run(experiment.clone(), run, cache.folder(), progress);
            let texts = draft.or_input()?.texts;
            let steps = self
                .training
                .steps_of_epochs(&experiment.training, texts.epoch_tokens)?;
            experiment.training.steps = steps.unwrap_or(experiment.training.steps);
        }
        Ok(experiment)
    }

    /// An experiment with the arguments applied, validated.
    fn changed(&self, mut experiment: Experiment) -> Result<Experiment, Failure> {
        self.data.apply(&mut experiment);
        self.training.apply(&mut experiment);
        self.lora.apply(&mut experiment);
        experiment.validate().or_input()?;
        Ok(experiment)
    }
}

/// Runs the command.
pub(crate) fn execute(args: &TrainArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    let run = args.resumed_run()?;
    let start = args.start()?;
    let (own, chosen) = match (&run, &start) {
        (Some(run), _) => (args.own(run)?, None),
        (None, Some(start)) => (start.experiment(), None),
        (None, None) => args.experiment()?,
    };
    let mut experiment = match &run {
        Some(run) => args.changed_run(run, own)?,
        None => args.changed(own)?,
    };
    if let Some(start) = &start {
        start.keep_unbalanced(&mut experiment)?;
    }
    let resumption = match run {
        None => None,
        Some(run) => {
            experiment = args.resumed(&run, experiment)?;
            match resumption(run, experiment.clone())? {
                Some(resumption) => Some(resumption),
                // all steps are done
                None => return Ok(()),
            }
        }
    };
    let adaptation = crate::cli::lora::adaptation(&experiment)?;
    let trained = adaptation.as_ref().map(|it| it.trained);
    let purpose = choice::purpose(&experiment, trained);
    device::refuse_what_cannot_fit(&experiment.model, purpose, args.device.device.as_ref())?;
    let device = args.device.open()?;
    let precision = experiment.training.precision;
    precision.check::<Selected>(&device).or_input()?;
    let folder = args.folder(chosen.as_ref());
    if resumption.is_none() {
        Run::check_new(&folder).or_input()?;
    }
    room::look(&folder, &experiment)?;
    let screen = if notice::is_quiet() {
        Screen::Nothing
    } else if std::io::stdout().is_terminal() {
        Screen::Dashboard
    } else {
        Screen::Lines
    };
    let cache = Arc::new(Cache::open()?);
    let in_use = cache.clone();
    let signals = Signals::listen(screen, move || in_use.take_back())?;
    let begin = |start| {
        args.begin(
            experiment.clone(),
            (start, chosen),
            (&folder, cache.folder()),
        )
    };
    let result = prepare(&experiment, (start, resumption), (&cache, &device), begin)
        .and_then(|(job, model)| train(job, (model, adaptation), (&device, screen, &signals)));
    result.inspect_err(|failure| {
        let is_run = folder.join("config.json").exists();
        if !matches!(failure, Failure::Stopped(_)) && !is_run {
            cache.take_back();
        }
    })
}

/// Checks a run to resume, and tells the user; `None` if all its steps are done.
fn resumption(run: Run, experiment: Experiment) -> Result<Option<Resumption>, Failure> {
    let folder = run.path().display().to_string();
    match Resumption::of(run, experiment) {
        Ok(resumption) => {
            notice::tell(format_args!("run {folder}: {resumption}"));
            Ok(Some(resumption))
        }
        Err(RunError::Finished { done, asked }) => {
            let said = if done == asked {
                format!("all {done} steps are trained")
            } else {
                format!("{done} steps are trained, {asked} were asked for")
            };
            output::line(format_args!(
                "run {folder} is done: {said}; to go on: darkhorse-genesis train --out {} --resume --steps N, with N above {done}",
                quoted(&folder)
            ))?;
            Ok(None)
        }
        Err(error) => Err(error).or_input(),
    }
}

/// A job, with the reason for its preset if that was chosen automatically.
type Announced = (Job, Option<String>);

/// Reads everything that the training needs.
fn prepare(
    experiment: &Experiment,
    (start, resumption): (Option<Start>, Option<Resumption>),
    (cache, device): (&Cache, &Device),
    begin: impl FnOnce(Option<Start>) -> Result<Announced, Failure>,
) -> Result<(Announced, Option<Model>), Failure> {
    let model = start.as_ref().map(|start| start.model(experiment, device));
    let model = model.transpose()?;
    let job = match resumption {
        Some(resumption) => {
            if let Some(saved) = &resumption.from {
                let weights = Box::new(saved.tensors(MODEL_FILE).or_input()?);
                match &experiment.training.lora {
                    Some(lora) => check_weights::<Selected>(
                        &experiment.model,
                        &Merged::new(weights, lora.scale()),
                    )?,
                    None => check_weights::<Selected>(&experiment.model, weights.as_ref())?,
                }
            }
            let job = Job::go_on(resumption, cache.folder(), notice::progress()).or_input()?;
            (job, None)
        }
        None => begin(start)?,
    };
    Ok((job, model))
}

/// Quotes an argument for a shell.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if argument.chars().all(is_plain) {
        argument.into()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// Trains `model`, or the one that the job describes if it is `None`, and reports the result.
fn train(
    (mut job, reason): Announced,
    (model, adaptation): (Option<Model>, Option<Adaptation>),
    (device, screen, signals): (&Device, Screen, &Signals),
) -> Result<(), Failure> {
    let run = job.run.path().display().to_string();
    let steps = job.experiment.training.steps;
    job.stop = signals.stop();
    signals.run_begins();
    if job.replaces_a_run() {
        notice::tell(format_args!(
            "run {run} had no checkpoint and is begun anew"
        ));
    }
    notice::tell(select::notice(device));
    notice::tell(
        Announcement::of(&job, reason, adaptation)
            .to_string()
            .trim_end(),
    );
    let report = job.run.report_path();
    let held_back = (screen == Screen::Dashboard).then(logging::hold_back);
    let trained = selected::train(job, model, device, screen).map_err(|error| {
        if error.is_of_input() {
            Failure::Input(error.into())
        } else {
            error.into()
        }
    })?;
    drop(held_back);
    if trained.ending == Ending::Stopped {
        let told = match trained.steps {
            // nothing is left to resume
            done if done >= steps => {
                format!(
                    "stopped in the last evaluation; all {steps} steps are done and saved in {run}"
                )
            }
            done => {
                let where_it_is = match done {
                    0 => "before the first step".into(),
                    done => format!("at step {done} of {steps}, which is saved"),
                };
                let run = quoted(&run);
                format!(
                    "stopped {where_it_is}; to go on: darkhorse-genesis train --out {run} --resume"
                )
            }
        };
        // the run has ended this way, whether or not the message can be printed
        let _ = output::line(told);
        return Err(Failure::Stopped(signals.code()));
    }
    if let Some(evaluation) = &trained.evaluation {
        output::text(EvaluationTable(evaluation))?;
    }
    output::line(format_args!("report: {}", report.display()))
}
