//! A trained model from its run, ready to be used.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::domain::Domain;
use crate::inference::{Generation, Limits, Speculation};
use crate::interop::hugging_face::TokenIds;
use crate::model::cache::CacheConfig;
use crate::model::matrix::Quantization;
use crate::model::weights::InBlocks;
use crate::model::{CausalLm, ModelConfig, weights};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::Template;
use darkhorse_backends::select::{Device, Selected};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::inference::Weights;
use crate::cli::stored::Stored;

const GENESIS_TOKENIZER: &str = "a Genesis checkpoint has no tokenizer in it: name GPT-NeoX's by \
    `--tokenizer tokenizer.json`, or lay it beside the model; \
    https://huggingface.co/EleutherAI/pythia-70m has the file";

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
    tokenizer: Option<Tokenizer>,
    /// How its family marks turns, where the tokenizer does not say.
    pub(crate) template: Option<Template>,
    pub(crate) experiment: Experiment,
    pub(crate) token_ids: TokenIds,
    /// Optimizer steps it was trained for.
    pub(crate) step: u64,
}

impl Loaded {
    /// Loads a model onto a device.
    pub(crate) fn open(
        weights: Weights,
        quantization: Option<Quantization>,
        device: &Device,
    ) -> Result<Self, Failure> {
        Self::open_with(weights, None, quantization, device)
    }

    /// Loads a model onto a device, with the tokenizer of a file if one is given.
    pub(crate) fn open_with(
        weights: Weights,
        tokenizer: Option<&Path>,
        quantization: Option<Quantization>,
        device: &Device,
    ) -> Result<Self, Failure> {
        let stored = match weights {
            Weights::Random(mut experiment) => {
                experiment.model = held_as(experiment.model, quantization)?;
                return Ok(Self {
                    model: CausalLm::init(&experiment.model, 0, device),
                    tokenizer: Some(Tokenizer::bytes()),
                    template: None,
                    experiment: *experiment,
                    token_ids: TokenIds::default(),
                    step: 0,
                });
            }
            Weights::Stored(path) => Stored::open(&path)?,
            Weights::Newest(name) => Stored::of_run(&newest(name.as_deref())?)?,
        };
        Self::of_stored(stored.with_tokenizer(tokenizer)?, quantization, device)
    }

    /// Loads a model that was found on disk.
    pub(crate) fn of_stored(
        stored: Stored,
        quantization: Option<Quantization>,
        device: &Device,
    ) -> Result<Self, Failure> {
        stored.check_tokenizer()?;
        let mut experiment = stored.experiment;
        let in_blocks = experiment.model.quantization.is_some();
        experiment.model = held_as(experiment.model, quantization)?;
        let model = CausalLm::init(&experiment.model, 0, device);
        let source = stored.weights.as_ref();
        let model = match quantization {
            Some(quantization) if !in_blocks => {
                let source = InBlocks::new(source, &model, quantization.bits());
                weights::load(model, &source)
            }
            _ => weights::load(model, source),
        };
        Ok(Self {
            model: model.or_input()?,
            tokenizer: stored.tokenizer,
            template: stored.template,
            experiment,
            token_ids: stored.origin.token_ids,
            step: stored.step,
        })
    }

    /// Text to ids and back.
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().ok_or_else(|| {
            if self.template == Some(Template::GenesisChatMl) {
                return Failure::input(GENESIS_TOKENIZER);
            }
            Failure::input("the model has no tokenizer.json beside it: give token ids by `--ids`")
        })
    }

    /// Where the model is.
    pub(crate) fn device(&self) -> Device {
        self.model.embed_tokens.device()
    }

    /// Ids that end a text.
    pub(crate) fn stop_ids(&self) -> Vec<u32> {
        self.token_ids.eos.clone()
    }

    /// An empty sequence, of a domain or of none, with drafts if they are wanted.
    pub(crate) fn begin(
        &self,
        domain: Option<Domain>,
        speculation: Option<Speculation>,
        cache: CacheConfig,
    ) -> Result<Generation<'_, Selected>, Failure> {
        let limits = Limits::of(&self.experiment.model);
        let generation = Generation::with_cache(&self.model, limits, domain, cache);
        match speculation {
            Some(speculation) => generation.speculating(speculation).or_input(),
            None => Ok(generation),
        }
    }
}

/// The same model with its weights held as asked for.
fn held_as(
    mut model: ModelConfig,
    quantization: Option<Quantization>,
) -> Result<ModelConfig, Failure> {
    match (quantization, model.quantization) {
        (Some(wanted), Some(found)) if wanted != found => Err(Failure::input(format!(
            "the weights are in blocks already, {found:?}, and cannot become {wanted:?}: leave `--weights` out"
        ))),
        (Some(wanted), _) => {
            model.quantization = Some(wanted);
            model.validate().or_input()?;
            Ok(model)
        }
        (None, _) => Ok(model),
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
