//! A loaded model with helpers for the commands.

use std::fmt;
use std::path::Path;

use darkhorse_backends::select::{Device, Selected};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::newest::newest;
use crate::cli::notice;
use crate::cli::weights::Weights;
use crate::config::Experiment;
use crate::inference::SamplingConfig;
use crate::interop::{Begun, Origin};
use crate::model::dtype::Dtype;
use crate::model::weights::WeightSource;
use crate::model::{CausalLm, ModelConfig, weights};
use crate::run::{self, ValidFeed};
use crate::stored::{Model, Stored, StoredTokenizer, held_as, narrow};
use crate::telemetry::EvalRecord;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::Template;

/// A model on the selected backend.
pub(crate) type Loaded = Model<Selected>;

impl Model<Selected> {
    /// Loads a model onto a device, with the tokenizer of a file if one is given.
    pub(crate) fn of_weights(
        weights: Weights,
        tokenizer: Option<&Path>,
        held: Option<Dtype>,
        device: &Device,
    ) -> Result<Self, Failure> {
        let stored = match weights {
            Weights::Random(mut experiment) => {
                experiment.model = held_as(experiment.model, held)?;
                let config = &experiment.model;
                let mut model = CausalLm::init(config, 0, device);
                if let Some(narrow) = narrow::<Selected>(config, held, device)? {
                    model = narrow.cast(model);
                }
                return Ok(Self {
                    model,
                    held: held.unwrap_or(Dtype::held_as(config.quantization)),
                    tokenizer: StoredTokenizer::Read(Tokenizer::bytes()),
                    experiment: *experiment,
                    origin: Origin::default(),
                    step: 0,
                });
            }
            Weights::Stored { path, adapter } => {
                Stored::open::<Selected>(&path, adapter.as_deref())?
            }
            Weights::Newest(name) => Stored::of_run::<Selected>(&newest(name.as_deref())?)?,
        };
        Self::of_stored(stored.with_tokenizer(tokenizer)?, held, device)
    }

    /// Loads a model from disk, and tells the user if its quantization changes.
    pub(crate) fn of_stored(
        stored: Stored,
        held: Option<Dtype>,
        device: &Device,
    ) -> Result<Self, Failure> {
        let loaded = Self::load(&stored, held, device)?;
        let dtype = loaded.model.norm.weight.dtype();
        stored.tell_blocks(dtype.name(), held);
        Ok(loaded)
    }

    /// The model with another configuration and other weights.
    pub(crate) fn with_model(
        &self,
        config: ModelConfig,
        weights: &dyn WeightSource,
    ) -> Result<Self, Failure> {
        let model = CausalLm::init(&config, 0, &self.device());
        Ok(Self {
            held: Dtype::held_as(config.quantization),
            model: weights::load(model, weights).or_input()?,
            tokenizer: self.tokenizer.clone(),
            experiment: Experiment {
                model: config,
                ..self.experiment.clone()
            },
            origin: self.origin.clone(),
            step: self.step,
        })
    }

    /// The model with another configuration and other weights, which are loaded after its own have left the memory.
    pub(crate) fn exchanged(
        self,
        (config, source): (&ModelConfig, &dyn WeightSource),
    ) -> Result<Self, Failure> {
        let device = self.device();
        let Self {
            model,
            tokenizer,
            experiment,
            origin,
            step,
            held: _,
        } = self;
        drop(model);
        Ok(Self {
            model: weights::load(CausalLm::init(config, 0, &device), source).or_input()?,
            held: Dtype::held_as(config.quantization),
            tokenizer,
            experiment: Experiment {
                model: config.clone(),
                ..experiment
            },
            origin,
            step,
        })
    }

    /// Loss on a whole text.
    pub(crate) fn evaluate(&self, text: &ValidFeed) -> Result<EvalRecord, Failure> {
        let domains = &self.experiment.model.domains;
        let found = run::evaluate(&self.model, text, domains, self.step).or_input()?;
        if found.is_none() {
            text.refuse_uncounted().or_input()?;
        }
        found.ok_or_else(|| Failure::input("the data has nothing to measure"))
    }

    /// The model with newly trained weights and their experiment.
    pub(crate) fn with_trained(&self, model: CausalLm<Selected>, experiment: Experiment) -> Self {
        Self {
            held: Dtype::held_as(experiment.model.quantization),
            model,
            tokenizer: self.tokenizer.clone(),
            experiment,
            origin: self.origin.clone(),
            step: self.step,
        }
    }

    /// Row length in tokens: as requested, or as in training. Refuses lengths beyond the model's context.
    pub(crate) fn row_length(&self, asked: Option<usize>) -> Result<usize, Failure> {
        let length = asked.unwrap_or(self.experiment.training.seq_len);
        let positions = self.experiment.model.max_position_embeddings;
        if (2..=positions).contains(&length) {
            Ok(length)
        } else {
            Err(Failure::input(format!(
                "`--seq-len` is {length}, expected 2 to {positions}, the model's `max_position_embeddings`"
            )))
        }
    }

    /// The model's chat template; warns the user if it is not the model's own.
    pub(crate) fn told_template(&self) -> Result<Template, Failure> {
        let template = self.template()?;
        if let Some(line) = template.notice() {
            notice::tell(line);
        }
        Ok(template)
    }
}

/// Displays the sampling settings, for `--stats`.
pub(crate) struct Told<'a>(pub(crate) &'a SamplingConfig, pub(crate) &'a Loaded);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sampling, loaded) = self;
        match sampling.temperature {
            0.0 => write!(f, "the likeliest token")?,
            temperature => write!(
                f,
                "temperature {temperature}, top-k {}, top-p {}, min-p {}",
                sampling.top_k, sampling.top_p, sampling.min_p
            )?,
        }
        write!(f, ", repetition penalty {}", sampling.repetition_penalty)?;
        if loaded.origin.generation.is_some() && loaded.origin.begun == Begun::Elsewhere {
            write!(
                f,
                ", from generation_config.json where the command line does not say otherwise"
            )?;
        }
        let ids: Vec<String> = loaded.stop_ids().iter().map(u32::to_string).collect();
        if ids.is_empty() {
            write!(f, "; no token ends the text")
        } else {
            write!(f, "; ends at {}", ids.join(", "))
        }
    }
}
