//! A model on a device, with everything that text generation needs.

use std::path::Path;

use darkhorse_backends::Ops;

use super::tokenizer::is_genesis;
use super::{OpenError, Stored, StoredTokenizer, held_as, narrow, origin_of};
use crate::config::Experiment;
use crate::domain::Domain;
use crate::inference::{Generation, Limits, SamplingConfig, Speculation};
use crate::interop::Origin;
use crate::interop::hugging_face::StatedSampling;
use crate::model::cache::CacheConfig;
use crate::model::dtype::Dtype;
use crate::model::weights::{self, InBlocks};
use crate::model::{CausalLm, ModelConfig};
use crate::tasks::Subject;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Kind, Template};

/// A language model on a device, with its tokenizer, its chat template and its settings.
///
/// ```no_run
/// use darkhorse_genesis::Model;
/// use darkhorse_genesis::backends::select::{Selected, default_device};
///
/// let model = Model::<Selected>::open("./SmolLM2-135M-Instruct", &default_device())?;
/// println!("{}", model.generate("Once upon a time", &model.options())?);
/// # Ok::<(), darkhorse_genesis::stored::OpenError>(())
/// ```
#[derive(Debug)]
pub struct Model<B: Ops> {
    pub(crate) model: CausalLm<B>,
    pub(crate) tokenizer: StoredTokenizer,
    pub(crate) experiment: Experiment,
    /// Facts that the model's files state beside the model.
    pub(crate) origin: Origin,
    /// Optimizer steps it was trained for.
    pub(crate) step: u64,
    /// Format of its matrices in memory.
    pub(crate) held: Dtype,
}

impl<B: Ops> Model<B> {
    /// Opens a run, a Hugging Face folder, or a `.safetensors`, `.ot` or `.gguf` file, and loads its weights.
    ///
    /// # Errors
    ///
    /// Anything that is absent, unreadable, unsupported or inconsistent.
    pub fn open(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, OpenError> {
        Self::load(&Stored::open::<B>(path.as_ref(), None)?, None, device)
    }

    /// A model that is in memory, with the experiment that describes it and its tokenizer.
    pub fn new(model: CausalLm<B>, experiment: Experiment, tokenizer: Tokenizer) -> Self {
        Self {
            held: Dtype::held_as(experiment.model.quantization),
            origin: origin_of(Some(&tokenizer)),
            tokenizer: StoredTokenizer::Read(tokenizer),
            model,
            experiment,
            step: 0,
        }
    }

    /// Loads an opened model onto a device, with its projections and experts held in a format: [`Dtype::Bf16`], which
    /// takes half the memory of f32 and holds the embedding table, too, or blocks. `None` keeps blocks as they are
    /// stored, and everything else in the device's default type.
    ///
    /// # Errors
    ///
    /// A tokenizer of another model, a format that the device lacks, or weights that cannot be read or quantized.
    pub fn load(
        stored: &Stored,
        held: Option<Dtype>,
        device: &B::Device,
    ) -> Result<Self, OpenError> {
        let rows = stored.experiment.model.vocab_size;
        // a few added tokens may lack an embedding; texts with them are refused
        stored.check_tokenizer((rows / 64).max(16))?;
        let mut experiment = stored.experiment.clone();
        let in_blocks = experiment.model.quantization.is_some();
        experiment.model = held_as(experiment.model, held)?;
        let config = &experiment.model;
        let model = CausalLm::init(config, 0, device);
        let source = stored.weights.as_ref();
        let model = match (config.quantization, narrow::<B>(config, held, device)?) {
            (Some(quantization), _) if !in_blocks => {
                let source = InBlocks::new(source, &model, quantization.bits());
                weights::load(model, &source)
            }
            (_, Some(narrow)) => weights::load(model, &narrow.source(source)),
            (_, None) => weights::load(model, source),
        };
        Ok(Self {
            model: model?,
            tokenizer: stored.tokenizer.clone(),
            held: held.unwrap_or(Dtype::held_as(config.quantization)),
            experiment,
            origin: stored.origin.clone(),
            step: stored.step,
        })
    }

    /// The network: token ids in, logits out.
    pub fn causal_lm(&self) -> &CausalLm<B> {
        &self.model
    }

    /// Configuration of the network.
    pub fn config(&self) -> &ModelConfig {
        &self.experiment.model
    }

    /// Format of its projections and experts in memory.
    pub fn held(&self) -> Dtype {
        self.held
    }

    /// Optimizer steps that the model was trained for; 0 if that is not known.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The tokenizer: text to ids and back.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer, or one that cannot be read.
    pub fn tokenizer(&self) -> Result<&Tokenizer, OpenError> {
        let missing = if is_genesis(&self.experiment.model) {
            OpenError::NoGenesisTokenizer
        } else {
            OpenError::NoTokenizer
        };
        self.tokenizer.readable()?.ok_or(missing)
    }

    /// The model as tasks ask it.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer, or one that cannot be read.
    pub fn subject(&self) -> Result<Subject<'_, B>, OpenError> {
        Ok(Subject {
            model: &self.model,
            tokenizer: self.tokenizer()?,
            limits: Limits::of(&self.experiment.model),
            stop_ids: self.stop_ids(),
        })
    }

    /// The chat template. [`Template::notice`] warns if it is not the model's own.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer, or its template cannot be read.
    pub fn template(&self) -> Result<Template, OpenError> {
        let tokenizer = self.tokenizer()?;
        let template = Template::of(tokenizer)?;
        // runs of older versions have no template
        if template.kind() == Kind::Plain && is_genesis(&self.experiment.model) {
            return Ok(Template::genesis(tokenizer)?);
        }
        Ok(template)
    }

    /// The device that holds the model.
    pub fn device(&self) -> B::Device {
        self.model.embed_tokens.device()
    }

    /// Ids that end a text, from `config.json`, `generation_config.json` and the tokenizer.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.origin.stop_ids();
        let rows = self.experiment.model.vocab_size;
        let own = self.tokenizer.get().and_then(Tokenizer::eos_id);
        let own = own.filter(|id| (*id as usize) < rows && !ids.contains(id));
        ids.extend(own);
        ids
    }

    /// Sampling settings that the model's files ask for; `default` fills in those that they do not state.
    pub fn sampling(&self, default: SamplingConfig) -> SamplingConfig {
        match &self.origin.generation {
            Some(generation) => over(default, generation.stated()),
            None => default,
        }
    }

    /// Begins an empty sequence, with a domain for the router and speculative decoding if they are given.
    ///
    /// # Errors
    ///
    /// Speculation is asked for and the model has no multi-token prediction modules to draft with.
    pub fn begin(
        &self,
        domain: Option<Domain>,
        speculation: Option<Speculation>,
        cache: CacheConfig,
    ) -> Result<Generation<'_, B>, OpenError> {
        let limits = Limits::of(&self.experiment.model);
        let generation = Generation::with_cache(&self.model, limits, domain, cache);
        match speculation {
            Some(speculation) => Ok(generation.speculating(speculation)?),
            None => Ok(generation),
        }
    }
}

/// Merges stated settings into a default. If the file asks for sampling, settings that it leaves out take the
/// defaults of transformers.
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
