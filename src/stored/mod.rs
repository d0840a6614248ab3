//! A model on disk, whatever program wrote it: [`Stored`] is opened with its weights still on disk, [`Model`] is
//! loaded on a device and generates text.

mod error;
mod foreign;
mod generate;
mod held;
mod model;
mod tokenizer;

use std::fmt;
use std::path::{Path, PathBuf};

use darkhorse_backends::Ops;

use crate::checkpoint::{Checkpoint, Run};
use crate::config::Experiment;
use crate::inference::SamplingConfig;
use crate::interop::gguf::StoredTypes;
use crate::interop::hugging_face::{GenerationConfig, StatedSampling};
use crate::interop::{Begun, Origin};
use crate::model::lora::LoraConfig;
use crate::model::weights::{self, Merged, WeightSource};
use crate::model::{CausalLm, ModelConfig};
use crate::run::state::{MODEL_FILE, ORIGIN_FILE};
use crate::tokenizer::Tokenizer;

pub use error::OpenError;
pub use foreign::untrained;
pub use generate::GenerateOptions;
pub use held::{held_as, narrow};
pub use model::Model;
pub use tokenizer::StoredTokenizer;
pub(crate) use tokenizer::as_model_takes;
use tokenizer::{have_same_tokens, token_ids};

/// A model on disk: its configuration, and a source to read its weights from.
pub struct Stored {
    /// Configuration of the model, and of its training as far as that is known.
    pub experiment: Experiment,
    /// Source of the weights, which are read on demand.
    pub weights: Box<dyn WeightSource>,
    /// The tokenizer, if there is one.
    pub tokenizer: StoredTokenizer,
    /// Facts that other formats store beside the model: special token ids, generation settings, where it comes from.
    pub origin: Origin,
    /// Element types of the file, if some of its tensors are quantized in another program's blocks.
    pub quantized: Option<StoredTypes>,
    /// Path of the training journal, if the model is a run.
    pub journal: Option<PathBuf>,
    /// Optimizer steps that the model was trained for; 0 if that is not known.
    pub step: u64,
    /// The adapters that are merged into the weights, if the model is a run that trained some.
    pub adapters: Option<Adapters>,
}

/// Adapters that a run trained by LoRA.
pub struct Adapters {
    /// Their rank, scale and targets.
    pub lora: LoraConfig,
    /// The run's weights before merging: frozen matrices, their factors, and everything else.
    pub weights: Box<dyn WeightSource>,
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adapters").field(&self.lora).finish()
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("model", &self.experiment.model)
            .finish_non_exhaustive()
    }
}

/// Folder of the run whose checkpoint, or a file in it, is at `path`.
fn run_of_checkpoint(path: &Path) -> Option<&Path> {
    let checkpoint = path
        .ancestors()
        .take(2)
        .find(|it| it.join("manifest.json").is_file())?;
    let checkpoints = checkpoint.parent()?;
    checkpoints
        .ends_with("checkpoints")
        .then(|| checkpoints.parent())?
}

impl Stored {
    /// Opens a run, a Hugging Face folder, or a `.safetensors`, `.ot` or `.gguf` file, with the LoRA adapter in the
    /// folder `adapter` if one is named. Names and shapes of the weights are checked against the model's, as built on
    /// `B`.
    ///
    /// # Errors
    ///
    /// Anything that is absent, unreadable, unsupported or inconsistent.
    pub fn open<B: Ops>(path: &Path, adapter: Option<&Path>) -> Result<Self, OpenError> {
        if path.join("checkpoints").is_dir() {
            if adapter.is_some() {
                let path = path.to_path_buf();
                return Err(OpenError::AdapterOfRun { path });
            }
            return Self::of_run::<B>(&Run::open(path)?);
        }
        if let Some(run) = run_of_checkpoint(path) {
            return Err(OpenError::CheckpointOfRun {
                path: path.to_path_buf(),
                run: run.to_path_buf(),
            });
        }
        let mut stored = Self::foreign(path, adapter)?;
        check_weights::<B>(&stored.experiment.model, stored.weights.as_ref())?;
        stored
            .origin
            .keep_within(stored.experiment.model.vocab_size);
        Ok(stored)
    }

    /// Opens the newest checkpoint of a run.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoCheckpoint`], or the error of a damaged file.
    pub fn of_run<B: Ops>(run: &Run) -> Result<Self, OpenError> {
        let Some(saved) = run.newest()? else {
            return Err(OpenError::NoCheckpoint {
                path: run.path().to_path_buf(),
            });
        };
        Self::of_checkpoint::<B>(run, &saved)
    }

    /// Opens a checkpoint of a run. Adapters that it trained are merged into the weights, and its settings for them
    /// are left out.
    ///
    /// # Errors
    ///
    /// The error of a damaged or changed file, or of an invalid configuration.
    pub fn of_checkpoint<B: Ops>(run: &Run, saved: &Checkpoint) -> Result<Self, OpenError> {
        run.verify_beside(saved)?;
        let experiment: Experiment = run.config_at(Some(saved))?;
        experiment.validate()?;
        saved.verify_file(MODEL_FILE)?;
        let tokenizer = StoredTokenizer::of_file(&run.tokenizer_path());
        let origin: Option<Origin> = run.json(ORIGIN_FILE)?;
        let origin = origin.unwrap_or_else(|| Origin {
            generation: Some(our_generation()),
            begun: Begun::Here,
            ..origin_of(tokenizer.get())
        });
        let mut weights: Box<dyn WeightSource> = Box::new(saved.tensors(MODEL_FILE)?);
        let mut experiment = experiment;
        let lora = experiment.training.lora.take();
        if let Some(lora) = &lora {
            weights = Box::new(Merged::new(weights, lora.scale()));
        }
        check_weights::<B>(&experiment.model, weights.as_ref())?;
        let adapters = lora.map(|lora| Ok::<_, OpenError>((lora, saved.tensors(MODEL_FILE)?)));
        Ok(Self {
            origin,
            weights,
            adapters: adapters.transpose()?.map(|(lora, weights)| Adapters {
                lora,
                weights: Box::new(weights),
            }),
            step: saved.step(),
            quantized: None,
            journal: Some(run.metrics_path()),
            experiment,
            tokenizer,
        })
    }

    /// Refuses a tokenizer whose texts can have more than `spare` ids beyond the model's vocabulary. Special tokens
    /// do not count: no text produces them, and files name some, such as padding, that were never embedded.
    ///
    /// # Errors
    ///
    /// [`OpenError::OtherTokenizer`].
    pub fn check_tokenizer(&self, spare: usize) -> Result<(), OpenError> {
        let tokens = self.tokenizer.get();
        let tokens = tokens.map_or(0, Tokenizer::text_vocab_size);
        let rows = self.experiment.model.vocab_size;
        if tokens <= rows.saturating_add(spare) {
            return Ok(());
        }
        Err(OpenError::OtherTokenizer {
            path: self.weights.path().to_path_buf(),
            tokens,
            rows,
        })
    }

    /// Replaces the tokenizer by that of a file, if one is named.
    ///
    /// # Errors
    ///
    /// [`OpenError::Tokenizer`].
    pub fn with_tokenizer(mut self, file: Option<&Path>) -> Result<Self, OpenError> {
        let Some(file) = file else { return Ok(self) };
        let tokenizer = Tokenizer::from_file(file)?;
        let tokenizer = as_model_takes(tokenizer, &self.experiment.model)?;
        if let Some(own) = self.tokenizer.get()
            && !have_same_tokens(own, &tokenizer)
        {
            tracing::warn!(
                "the tokenizer {} has other tokens than the model's own: it reads and writes other ids than it was trained on",
                file.display()
            );
        }
        self.origin.token_ids = token_ids(Some(&tokenizer));
        // the ids in the files belong to another tokenizer
        let generation = self.origin.generation.take();
        self.origin.generation = generation.map(GenerationConfig::without_ids);
        self.tokenizer = StoredTokenizer::Read(tokenizer);
        Ok(self)
    }
}

/// Checks names and shapes of the weights against the model, before anything is read or written.
pub(crate) fn check_weights<B: Ops>(
    model: &ModelConfig,
    weights: &dyn WeightSource,
) -> Result<(), OpenError> {
    let module = CausalLm::<B>::init(model, 0, &Default::default());
    Ok(weights::check(&module, weights)?)
}

/// Default generation settings of a model that was trained here.
fn our_generation() -> GenerationConfig {
    let ours = SamplingConfig::default();
    GenerationConfig::sampling(StatedSampling {
        do_sample: Some(true),
        temperature: Some(ours.temperature),
        top_k: Some(ours.top_k),
        top_p: Some(ours.top_p),
        ..StatedSampling::default()
    })
}

/// The facts that follow from the tokenizer alone: the special token ids.
fn origin_of(tokenizer: Option<&Tokenizer>) -> Origin {
    Origin {
        token_ids: token_ids(tokenizer),
        ..Default::default()
    }
}
