//! A model on disk, whatever wrote it: [`Stored`] before its weights are anywhere else, [`Model`] when they are on a
//! device and text goes in and out.

mod error;
mod foreign;
mod generate;
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
use crate::model::weights::{self, WeightSource};
use crate::model::{CausalLm, ModelConfig};
use crate::run::state::{MODEL_FILE, ORIGIN_FILE};
use crate::tokenizer::Tokenizer;

pub use error::OpenError;
pub use foreign::untrained;
pub use generate::GenerateOptions;
pub use model::Model;
pub use model::held_as;
pub use tokenizer::StoredTokenizer;
pub(crate) use tokenizer::as_model_takes;
use tokenizer::{have_same_tokens, token_ids};

/// A model on disk: its configuration, and its weights to be read.
pub struct Stored {
    /// What it is, and how it was trained, as far as that is known.
    pub experiment: Experiment,
    /// The weights, read when they are asked for.
    pub weights: Box<dyn WeightSource>,
    /// Text to ids.
    pub tokenizer: StoredTokenizer,
    /// What other formats have a place for and a model here has not.
    pub origin: Origin,
    /// Element types of its file, if some of its tensors are in blocks of another format.
    pub quantized: Option<StoredTypes>,
    /// What happened while it was trained, if it is a run.
    pub journal: Option<PathBuf>,
    /// Optimizer steps it was trained for.
    pub step: u64,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("model", &self.experiment.model)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Opens a run, a Hugging Face folder, a `.safetensors`, `.ot` or `.gguf` file, with the LoRA adapter in the folder
    /// `adapter`, if one is named. The weights are held against the model, whose tensors would be `B`'s.
    ///
    /// # Errors
    ///
    /// What is not there, not readable, not supported or does not belong together.
    pub fn open<B: Ops>(path: &Path, adapter: Option<&Path>) -> Result<Self, OpenError> {
        if path.join("checkpoints").is_dir() {
            refuse_adapter(path, adapter, "a run")?;
            return Self::of_run::<B>(&Run::open(path)?);
        }
        let mut stored = Self::foreign(path, adapter)?;
        check_weights::<B>(&stored.experiment.model, stored.weights.as_ref())?;
        stored
            .origin
            .keep_within(stored.experiment.model.vocab_size);
        Ok(stored)
    }

    /// The newest checkpoint of a run.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoCheckpoint`], or what is damaged.
    pub fn of_run<B: Ops>(run: &Run) -> Result<Self, OpenError> {
        let Some(saved) = run.newest()? else {
            return Err(OpenError::NoCheckpoint {
                path: run.path().to_path_buf(),
            });
        };
        Self::of_checkpoint::<B>(run, &saved)
    }

    /// A checkpoint of a run.
    ///
    /// # Errors
    ///
    /// What is damaged.
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
        let weights = saved.tensors(MODEL_FILE)?;
        check_weights::<B>(&experiment.model, &weights)?;
        Ok(Self {
            origin,
            weights: Box::new(weights),
            step: saved.step(),
            quantized: None,
            journal: Some(run.metrics_path()),
            experiment,
            tokenizer,
        })
    }

    /// Refuses a tokenizer that gives more than `spare` ids which the model does not have. Special tokens may be
    /// beyond: no text has them, and files name some, such as padding, that were never embedded.
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

    /// The same model with the tokenizer of a file, if one is named.
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
        // ids that the files name are another tokenizer's
        let generation = self.origin.generation.take();
        self.origin.generation = generation.map(GenerationConfig::without_ids);
        self.tokenizer = StoredTokenizer::Read(tokenizer);
        Ok(self)
    }
}

/// An adapter's names are those of Hugging Face, which only its formats have.
fn refuse_adapter(
    path: &Path,
    adapter: Option<&Path>,
    kind: &'static str,
) -> Result<(), OpenError> {
    match adapter {
        None => Ok(()),
        Some(_) => Err(OpenError::NoAdapters {
            path: path.to_path_buf(),
            kind,
        }),
    }
}

/// Refuses weights that are not those of a model, before anything is read or written.
pub(crate) fn check_weights<B: Ops>(
    model: &ModelConfig,
    weights: &dyn WeightSource,
) -> Result<(), OpenError> {
    let module = CausalLm::<B>::init(model, 0, &Default::default());
    Ok(weights::check(&module, weights)?)
}

/// How a model that was trained here generates unless somebody says otherwise.
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

/// What is known of a model by its tokenizer alone.
fn origin_of(tokenizer: Option<&Tokenizer>) -> Origin {
    Origin {
        token_ids: token_ids(tokenizer),
        ..Default::default()
    }
}
