//! A trained model from its run, ready to be used.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use darkhorse_backends::select::{Device, Selected};
use darkhorse_genesis::checkpoint::{self, Run};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{Generation, Limits};
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::state::MODEL_FILE;

use crate::failure::{Failure, OrInput};
use crate::inference::Weights;

/// Where runs are made and looked for.
pub(crate) const RUNS: &str = "runs";

/// Folder of a new run of an experiment: its name and the time.
pub(crate) fn new_run(experiment: &str) -> PathBuf {
    let stem = Path::new(experiment).file_stem().unwrap_or_default();
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since_1970.as_secs();
    Path::new(RUNS).join(format!("{}-{seconds}", stem.to_string_lossy()))
}

/// A model with what goes with it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: CausalLm<Selected>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) experiment: Experiment,
    /// Optimizer steps it was trained for.
    pub(crate) step: u64,
}

impl Loaded {
    /// Loads a model onto a device.
    pub(crate) fn open(weights: Weights, device: &Device) -> Result<Self, Failure> {
        let run = match weights {
            Weights::Random(experiment) => {
                return Ok(Self {
                    model: CausalLm::init(&experiment.model, 0, device),
                    tokenizer: Tokenizer::bytes(),
                    experiment: *experiment,
                    step: 0,
                });
            }
            Weights::Checkpoint(folder) => Run::open(folder).or_input()?,
            Weights::Newest(name) => newest(name.as_deref())?,
        };
        Self::of_run(&run, device)
    }

    fn of_run(run: &Run, device: &Device) -> Result<Self, Failure> {
        let Some(saved) = run.newest().or_input()? else {
            return Err(Failure::input(format!(
                "run `{}` has no checkpoint yet: go on with it by `train --out {0} --resume`",
                run.path().display()
            )));
        };
        let experiment: Experiment = run.config().or_input()?;
        experiment.validate().or_input()?;
        saved.verify_file(MODEL_FILE).or_input()?;
        let model = CausalLm::init(&experiment.model, 0, device);
        let weights = saved.tensors(MODEL_FILE).or_input()?;
        let tokenizer = Tokenizer::from_bytes(&run.tokenizer().or_input()?).or_input()?;
        Ok(Self {
            model: checkpoint::apply(model, &weights).or_input()?,
            tokenizer,
            experiment,
            step: saved.step(),
        })
    }

    /// An empty sequence, of a domain or of none.
    pub(crate) fn begin(&self, domain: Option<Domain>) -> Generation<'_, Selected> {
        Generation::new(&self.model, Limits::of(&self.experiment.model), domain)
    }
}

/// The newest run, of a preset if one is named.
fn newest(name: Option<&str>) -> Result<Run, Failure> {
    let missing = |what: &str| {
        Failure::input(format!(
            "{what} in `{RUNS}/`: make one with `darkhorse-genesis train --params {}`, or name one with `--checkpoint RUN`",
            name.unwrap_or("tiny")
        ))
    };
    let Some(name) = name else {
        return Run::newest_under(RUNS)
            .or_input()?
            .ok_or_else(|| missing("no trained run"));
    };
    let wanted = Experiment::preset(name).or_input()?.model;
    let runs = Run::all_under(RUNS).or_input()?;
    let is_wanted = |run: &Run| {
        run.config::<Experiment>().is_ok_and(|found| {
            // a run may bring a tokenizer and a domain mode of its own
            let found = ModelConfig {
                vocab_size: wanted.vocab_size,
                domains: wanted.domains.clone(),
                ..found.model
            };
            found == wanted
        })
    };
    let found = runs.into_iter().find(is_wanted);
    found.ok_or_else(|| missing(&format!("no trained run of `{name}`")))
}
