//! A trained model from its run, ready to be used.

use std::fmt;
use std::path::Path;

use crate::config::Experiment;
use crate::domain::Domain;
use crate::inference::{Generation, Limits, SamplingConfig, Speculation};
use crate::interop::hugging_face::StatedSampling;
use crate::interop::{Begun, Origin};
use crate::model::cache::CacheConfig;
use crate::model::matrix::Quantization;
use crate::model::weights::{InBlocks, WeightSource};
use crate::model::{CausalLm, ModelConfig, weights};
use crate::run::{self, ValidFeed};
use crate::telemetry::EvalRecord;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Kind, Template};
use darkhorse_backends::select::{Device, Selected};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::newest::newest;
use crate::cli::notice;
use crate::cli::stored::{Stored, is_genesis};
use crate::cli::stored_tokenizer::StoredTokenizer;
use crate::cli::weights::Weights;

const GENESIS_TOKENIZER: &str = "a Genesis checkpoint has no tokenizer in it: name GPT-NeoX's by \
    `--tokenizer tokenizer.json`, or lay it beside the model; \
    https://huggingface.co/EleutherAI/pythia-70m has the file";

/// A model with what goes with it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: CausalLm<Selected>,
    tokenizer: StoredTokenizer,
    pub(crate) experiment: Experiment,
    /// What its files say beside the model.
    pub(crate) origin: Origin,
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
                    tokenizer: StoredTokenizer::Read(Tokenizer::bytes()),
                    experiment: *experiment,
                    origin: Origin::default(),
                    step: 0,
                });
            }
            Weights::Stored { path, adapter } => Stored::open_with(&path, adapter.as_deref())?,
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
        let rows = stored.experiment.model.vocab_size;
        // a token that was added and never embedded is refused where it occurs
        stored.check_tokenizer((rows / 64).max(16))?;
        let mut experiment = stored.experiment.clone();
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
        let model = model.or_input()?;
        let dtype = model.embed_tokens.val().dtype();
        stored.tell_blocks(dtype.name(), quantization);
        Ok(Self {
            model,
            tokenizer: stored.tokenizer,
            experiment,
            origin: stored.origin,
            step: stored.step,
        })
    }

    /// The same with a model of another configuration.
    pub(crate) fn with_model(
        &self,
        config: ModelConfig,
        weights: &dyn WeightSource,
    ) -> Result<Self, Failure> {
        let model = CausalLm::init(&config, 0, &self.device());
        Ok(Self {
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

    /// The loss on a text, all of it.
    pub(crate) fn evaluate(&self, text: &ValidFeed) -> Result<EvalRecord, Failure> {
        let domains = &self.experiment.model.domains;
        let found = run::evaluate(&self.model, text, domains, self.step).or_input()?;
        if found.is_none() {
            text.refuse_uncounted().or_input()?;
        }
        found.ok_or_else(|| Failure::input("the data has nothing to measure"))
    }

    /// The same with what was made of its model.
    pub(crate) fn with_trained(&self, model: CausalLm<Selected>, experiment: Experiment) -> Self {
        Self {
            model,
            tokenizer: self.tokenizer.clone(),
            experiment,
            origin: self.origin.clone(),
            step: self.step,
        }
    }

    /// Most tokens of a row: those that are asked for, or as in training.
    pub(crate) fn row_length(&self, asked: Option<usize>) -> Result<usize, Failure> {
        let length = asked.unwrap_or(self.experiment.training.seq_len);
        let positions = self.experiment.model.max_position_embeddings;
        match (2..=positions).contains(&length) {
            true => Ok(length),
            false => Err(Failure::input(format!(
                "`--seq-len` is {length}, expected 2 to {positions}, the model's `max_position_embeddings`"
            ))),
        }
    }

    /// Text to ids and back.
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.readable()?.ok_or_else(|| {
            if is_genesis(&self.experiment.model) {
                return Failure::input(GENESIS_TOKENIZER);
            }
            Failure::input(
                "the model has no tokenizer.json beside it: name one by `--tokenizer FILE`",
            )
        })
    }

    /// How the turns of a conversation are written; says so to the user if that is not the model's own way.
    pub(crate) fn template(&self) -> Result<Template, Failure> {
        let tokenizer = self.tokenizer()?;
        let template = Template::of(tokenizer).or_input()?;
        // runs of older versions
        if template.kind() == Kind::Plain && is_genesis(&self.experiment.model) {
            return Template::genesis(tokenizer).or_input();
        }
        if let Some(line) = template.notice() {
            notice::tell(line);
        }
        Ok(template)
    }

    /// Where the model is.
    pub(crate) fn device(&self) -> Device {
        self.model.embed_tokens.device()
    }

    /// Ids that end a text: those of `config.json`, of `generation_config.json` and of the tokenizer.
    pub(crate) fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.origin.stop_ids();
        let rows = self.experiment.model.vocab_size;
        let own = self.tokenizer.get().and_then(Tokenizer::eos_id);
        let own = own.filter(|id| (*id as usize) < rows && !ids.contains(id));
        ids.extend(own);
        ids
    }

    /// How the model wants its text to be generated; what its files do not say is as in `default`.
    pub(crate) fn sampling(&self, default: SamplingConfig) -> SamplingConfig {
        match &self.origin.generation {
            Some(generation) => over(default, generation.stated()),
            None => default,
        }
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

/// How text is generated, for `--stats`.
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

/// Stated settings over a default. Where a file asks for draws, what it leaves out is as in transformers.
fn over(default: SamplingConfig, stated: StatedSampling) -> SamplingConfig {
    let base = match stated.do_sample {
        Some(true) => SamplingConfig {
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            ..default
        },
        Some(false) | None => default,
    };
    let temperature = match stated.do_sample {
        Some(false) => 0.0,
        Some(true) | None => stated.temperature.unwrap_or(base.temperature),
    };
    SamplingConfig {
        temperature,
        top_k: stated.top_k.unwrap_or(base.top_k),
        top_p: stated.top_p.unwrap_or(base.top_p),
        min_p: stated.min_p.unwrap_or(base.min_p),
        repetition_penalty: stated.repetition_penalty.unwrap_or(base.repetition_penalty),
        ..base
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_states_goes_before_the_default() {
        let default = SamplingConfig::default();
        let greedy = StatedSampling {
            do_sample: Some(false),
            temperature: Some(0.6),
            ..Default::default()
        };
        assert_eq!(over(default.clone(), greedy).temperature, 0.0);
        let drawn = StatedSampling {
            do_sample: Some(true),
            top_k: Some(20),
            ..Default::default()
        };
        let drawn = over(default.clone(), drawn);
        assert_eq!(
            (drawn.temperature, drawn.top_k, drawn.top_p),
            (1.0, 20, 1.0)
        );
        assert_eq!(over(default.clone(), StatedSampling::default()), default);
        let only = StatedSampling {
            temperature: Some(0.3),
            ..Default::default()
        };
        let only = over(default.clone(), only);
        assert_eq!((only.temperature, only.top_p), (0.3, default.top_p));
    }
}
