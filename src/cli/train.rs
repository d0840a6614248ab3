//! `train`: text to a trained model.

mod settings;
mod start;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::config::memory::Purpose;
use crate::data::Progress;
use crate::model::CausalLm;
use crate::model::cost::Dtype;
use crate::telemetry::EvaluationTable;
use crate::training::Precision;
use crate::training::job::{Job, Screen};
use crate::training::state::MODEL_FILE;
use burn::backend::Autodiff;
use clap::Args;
use darkhorse_backends::select::{self, Device, Selected};
use serde_json::Value;

use crate::cli::args::{DeviceArgs, ExperimentArgs};
use crate::cli::device;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::{RUNS, new_run};
use crate::cli::stored::check_weights;
use settings::{DataArgs, TrainingArgs};
use start::Start;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis train --params tiny
  darkhorse-genesis train --params 5b --data ./data/train.jsonl --steps 1000
  darkhorse-genesis train --config mine.json --data a.jsonl.zst b.parquet --train-tokenizer 8192
  darkhorse-genesis train --data corpus/ --mix code=0.3,math=0.2 --out runs/mixed
  darkhorse-genesis train --out runs/mixed --resume
  darkhorse-genesis train --init-from ./Mixtral-small --data mine.jsonl --learning-rate 1e-5";

/// Train a model
///
/// Without --data the embedded corpus of ten domains is read.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Folder of the run; without it a new one in runs/, or with --resume the newest one there
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with a run from its last checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Begin with the weights, the configuration and the tokenizer of a model: a run, a Hugging Face folder, a
    /// .safetensors, .ot or .gguf file
    #[arg(long, value_name = "PATH", conflicts_with_all = ["params", "config", "resume", "train_tokenizer"])]
    init_from: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    training: TrainingArgs,
}

impl TrainArgs {
    /// The run to go on with, if one is asked for.
    fn resumed_run(&self) -> Result<Option<Run>, Failure> {
        match (&self.out, self.resume) {
            (_, false) => Ok(None),
            (Some(folder), true) => Ok(Some(Run::open(folder).or_input()?)),
            (None, true) => match Run::newest_under(RUNS).or_input()? {
                Some(run) => Ok(Some(run)),
                None => Err(Failure::input(format!(
                    "no run in `{RUNS}/` to go on with: name one with `--out RUN`"
                ))),
            },
        }
    }

    /// A run goes on with its own settings; a preset or a file beside `--resume` may only name the same model.
    fn refuse_another_model(&self, run: &Run, own: &Experiment) -> Result<(), Failure> {
        if self.experiment.params.is_none() && self.experiment.config.is_none() {
            return Ok(());
        }
        let asked = self.changed(self.experiment.load()?)?;
        let asked = serde_json::to_value(asked.model)?;
        let own = serde_json::to_value(&own.model)?;
        match difference("model", &asked, &own) {
            None => Ok(()),
            Some((field, asked, own)) => Err(Failure::input(format!(
                "`{field}` is {asked} in `{}`, but {own} in run `{}`: leave `--resume` out to train another model, or \
                 {} out to go on with this one",
                self.experiment.name(),
                run.path().display(),
                if self.experiment.config.is_some() {
                    "`--config`"
                } else {
                    "`--params`"
                },
            ))),
        }
    }

    /// The model that a new run begins with, if one is named.
    fn start(&self) -> Result<Option<Start>, Failure> {
        let open = |path: &PathBuf| Start::open(path, self.data.tokenizer.as_deref());
        self.init_from.as_ref().map(open).transpose()
    }

    /// Folder of a new run.
    fn folder(&self) -> PathBuf {
        match &self.out {
            Some(folder) => folder.clone(),
            None => match &self.init_from {
                Some(path) => new_run(&path.display().to_string()),
                None => new_run(&self.experiment.name()),
            },
        }
    }

    /// An experiment with what the arguments change, validated.
    fn changed(&self, mut experiment: Experiment) -> Result<Experiment, Failure> {
        self.data.apply(&mut experiment);
        self.training.apply(&mut experiment);
        experiment.validate().or_input()?;
        Ok(experiment)
    }
}

/// Runs the command.
pub(crate) fn execute(args: &TrainArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    let run = args.resumed_run()?;
    let start = args.start()?;
    let experiment = args.changed(match (&run, &start) {
        (Some(run), _) => {
            let own = run.config().or_input()?;
            args.refuse_another_model(run, &own)?;
            own
        }
        (None, Some(start)) => start.experiment(),
        (None, None) => args.experiment.load()?,
    })?;
    let purpose = Purpose::Training {
        dtype: match experiment.training.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::Bf16,
        },
        tokens: experiment.training.batch_size * experiment.training.seq_len,
    };
    device::refuse_what_cannot_fit(&experiment.model, purpose, args.device.device.as_ref())?;
    let device = args.device.open()?;
    let precision = experiment.training.precision;
    precision.check::<Selected>(&device).or_input()?;
    let cache = Path::new(RUNS).join(".cache");
    let model = start
        .as_ref()
        .map(|start| start.model(&experiment, &device));
    let model = model.transpose()?;
    let (folder, progress) = (args.folder(), Progress::Shown);
    let job = match (run, start) {
        (Some(run), _) => {
            if let Some(saved) = run.newest().or_input()? {
                check_weights(&experiment.model, &saved.tensors(MODEL_FILE).or_input()?)?;
            }
            Job::resume(experiment, run, &cache, progress).or_input()
        }
        (None, Some(start)) => start.job(experiment, &folder, &cache),
        (None, None) => Job::create(experiment, &folder, &cache, progress).or_input(),
    };
    let job = job.inspect_err(|_| {
        // folders that the attempt made and nothing filled
        let _ = std::fs::remove_dir(&cache);
        let _ = std::fs::remove_dir(RUNS);
    })?;
    train(job, model, &device)
}

/// The first place where two JSON values are not the same, and what is there.
fn difference(path: &str, left: &Value, right: &Value) -> Option<(String, Value, Value)> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            keys.into_iter().find_map(|key| {
                let [left, right] = [left, right].map(|it| it.get(key).unwrap_or(&Value::Null));
                difference(&format!("{path}.{key}"), left, right)
            })
        }
        _ if left == right => None,
        _ => Some((path.to_owned(), left.clone(), right.clone())),
    }
}

/// Trains what was resolved: this model, or the one that the run says.
fn train(
    job: Job,
    model: Option<CausalLm<Autodiff<Selected>>>,
    device: &Device,
) -> Result<(), Failure> {
    let run = job.run.path().display().to_string();
    let screen = match std::io::stdout().is_terminal() {
        true => Screen::Dashboard,
        false => Screen::Lines,
    };
    eprintln!("{}", select::notice(device));
    eprintln!("run {run}, {} training tokens", job.train.total().tokens);
    let report = job.run.report_path();
    let trained = match model {
        Some(model) => job.train_model(model, device, screen)?,
        None => job.train::<Autodiff<Selected>>(device, screen)?,
    };
    print!("{}", EvaluationTable(&trained.evaluation));
    println!("report: {}", report.display());
    Ok(())
}
