//! A model on disk, whatever wrote it, before its weights are anywhere else.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, Run};
use crate::config::Experiment;
use crate::inference::SamplingConfig;
use crate::interop::genesis::GenesisCheckpoint;
use crate::interop::gguf::StoredTypes;
use crate::interop::hugging_face::{GenerationConfig, StatedSampling, TokenIds};
use crate::interop::{Begun, ForeignModel, ForeignTokenizer, Origin};
use crate::model::matrix::Quantization;
use crate::model::weights::{self, NamedTensor, WeightSource};
use crate::model::{CausalLm, ModelConfig};
use crate::run::state::{MODEL_FILE, ORIGIN_FILE};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{CHATML_TOKENS, GENESIS_TEMPLATE};
use crate::training::TrainingConfig;
use darkhorse_backends::select::Selected;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::stored_tokenizer::StoredTokenizer;

/// Whether a run that has come to `step` holds another model's weights as they were, imported or quantized: it was
/// not trained.
pub(crate) fn is_copy(run: &Run, step: u64) -> bool {
    // whatever trains begins a journal
    let has_origin = run.path().join(ORIGIN_FILE).is_file();
    !run.metrics_path().is_file() && (has_origin || step == 0)
}

/// Whether a run without a checkpoint was to hold another model's weights as they were.
pub(crate) fn is_unfinished_copy(run: &Run) -> bool {
    !run.metrics_path().is_file() && run.path().join(ORIGIN_FILE).is_file()
}

/// A model on disk: its configuration, and its weights to be read.
pub(crate) struct Stored {
    pub(crate) experiment: Experiment,
    pub(crate) weights: Box<dyn WeightSource>,
    pub(crate) tokenizer: StoredTokenizer,
    /// What other formats have a place for and a model here has not.
    pub(crate) origin: Origin,
    /// Element types of its file, if some of its tensors are in blocks of another format.
    pub(crate) quantized: Option<StoredTypes>,
    /// What happened while it was trained, if it is a run.
    pub(crate) journal: Option<PathBuf>,
    /// Optimizer steps it was trained for.
    pub(crate) step: u64,
}

impl Stored {
    /// Opens a run, a Hugging Face folder, a `.safetensors` or a `.gguf` file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Self::open_with(path, None)
    }

    /// Opens a model with the LoRA adapter in the folder `adapter`, if one is named.
    pub(crate) fn open_with(path: &Path, adapter: Option<&Path>) -> Result<Self, Failure> {
        if path.join("checkpoints").is_dir() {
            refuse_adapter(path, adapter, "a run")?;
            return Self::of_run(&Run::open(path).or_input()?);
        }
        let mut stored = Self::foreign(path, adapter)?;
        check_weights(&stored.experiment.model, stored.weights.as_ref())?;
        stored
            .origin
            .keep_within(stored.experiment.model.vocab_size);
        Ok(stored)
    }

    /// Refuses weights in blocks, which cannot be `done` something to.
    pub(crate) fn refuse_blocks(&self, done: &str) -> Result<(), Failure> {
        match self.experiment.model.quantization {
            None => Ok(()),
            Some(quantization) => Err(Failure::input(format!(
                "the weights in {} are in blocks, {quantization:?}, and cannot be {done}: take the model that they were made from",
                self.weights.path().display()
            ))),
        }
    }

    /// Says which blocks another format's file holds, if any, and what is made of them: numbers of `dtype`, and blocks
    /// of our own.
    pub(crate) fn tell_blocks(&self, dtype: impl Display, blocks: Option<Quantization>) {
        let Some(types) = &self.quantized else { return };
        let path = self.weights.path().display();
        match blocks {
            None => notice::tell(format_args!(
                "{path} holds {types}: blocks are read as {dtype}"
            )),
            Some(blocks) => notice::tell(format_args!(
                "{path} holds {types}: blocks are read as {dtype}, projections and experts then held in our own of {} bits",
                blocks.bits().count()
            )),
        }
    }

    /// Writes a run of weights that are this model's, or are made from them. If they cannot be written there is none.
    pub(crate) fn write_run(
        &self,
        folder: &Path,
        experiment: &Experiment,
        tensors: Vec<NamedTensor<'_>>,
    ) -> Result<(), Failure> {
        let (run, beginning) = Run::begin(folder, experiment, |run| {
            match &self.tokenizer {
                StoredTokenizer::Absent => {}
                StoredTokenizer::Read(tokenizer) => tokenizer.save(&run.tokenizer_path())?,
                StoredTokenizer::Unreadable(why) => {
                    notice::tell(format_args!("warning: {why}; the run has no tokenizer"));
                }
            }
            // so that it is exported as this one is
            run.write_json(ORIGIN_FILE, &self.origin)?;
            Ok::<_, anyhow::Error>(())
        })
        .or_input()?;
        let saved = run.save(self.step, |writer| writer.tensors(MODEL_FILE, tensors));
        saved.or_input()?;
        beginning.keep();
        Ok(())
    }

    /// The newest checkpoint of a run.
    pub(crate) fn of_run(run: &Run) -> Result<Self, Failure> {
        let Some(saved) = run.newest().or_input()? else {
            return Err(Failure::input(format!(
                "run `{}` has no checkpoint yet: train it by `darkhorse-genesis train --out {0} --resume`",
                run.path().display()
            )));
        };
        Self::of_checkpoint(run, &saved)
    }

    /// A checkpoint of a run.
    pub(crate) fn of_checkpoint(run: &Run, saved: &Checkpoint) -> Result<Self, Failure> {
        run.verify_beside(saved).or_input()?;
        let experiment: Experiment = run.config_at(Some(saved)).or_input()?;
        experiment.validate().or_input()?;
        saved.verify_file(MODEL_FILE).or_input()?;
        let tokenizer = read_tokenizer(&run.tokenizer_path());
        let origin: Option<Origin> = run.json(ORIGIN_FILE).or_input()?;
        let origin = origin.unwrap_or_else(|| Origin {
            generation: Some(our_generation()),
            begun: Begun::Here,
            ..origin_of(tokenizer.get())
        });
        let weights = saved.tensors(MODEL_FILE).or_input()?;
        check_weights(&experiment.model, &weights)?;
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
    pub(crate) fn check_tokenizer(&self, spare: usize) -> Result<(), Failure> {
        let tokens = self.tokenizer.get();
        let tokens = tokens.map_or(0, Tokenizer::text_vocab_size);
        let rows = self.experiment.model.vocab_size;
        if tokens <= rows.saturating_add(spare) {
            return Ok(());
        }
        Err(Failure::input(format!(
            "the tokenizer of {} has {tokens} tokens, the model {rows}: they do not belong together",
            self.weights.path().display()
        )))
    }

    fn foreign(path: &Path, adapter: Option<&Path>) -> Result<Self, Failure> {
        if !path.exists() {
            return Err(Failure::input(format!(
                "{} does not exist, expected a run, a Hugging Face folder, a .safetensors, .ot or .gguf file",
                path.display()
            )));
        }
        if GenesisCheckpoint::is_at(path) {
            refuse_adapter(path, adapter, "a Genesis checkpoint")?;
            return Self::genesis(path);
        }
        let found = ForeignModel::open_with(path, adapter).or_input()?;
        let tokenizer = found.tokenizer.or_input();
        let tokenizer = tokenizer.and_then(|it| it.map(tokenizer_of).transpose());
        let tokenizer = StoredTokenizer::of(tokenizer);
        let mut origin = found.origin;
        // some families leave it to the tokenizer
        if origin.token_ids == TokenIds::default()
            && found.config.family.profile().bos_eos == (None, None)
        {
            origin.token_ids = token_ids(tokenizer.get());
        }
        Ok(Self {
            experiment: untrained(found.config.model),
            weights: found.weights,
            tokenizer,
            origin,
            quantized: found.quantized,
            journal: None,
            step: 0,
        })
    }

    /// A checkpoint of the Genesis-152M package, with the tokenizer beside it if there is one.
    fn genesis(path: &Path) -> Result<Self, Failure> {
        let found = GenesisCheckpoint::open(path).or_input()?;
        if !found.unknown_keys.is_empty() {
            let keys = found.unknown_keys.join(", ");
            notice::tell(format_args!(
                "{}: keys without a meaning here are ignored: {keys}",
                path.display()
            ));
        }
        for line in found.config.not_done() {
            notice::tell(format_args!("{}: {line}", path.display()));
        }
        let beside = path.with_file_name("tokenizer.json");
        let tokenizer = match read_tokenizer(&beside) {
            StoredTokenizer::Read(tokenizer) => {
                StoredTokenizer::of(with_chat_tokens(&tokenizer).map(Some))
            }
            other => other,
        };
        Ok(Self {
            experiment: untrained(found.model.clone()),
            origin: origin_of(tokenizer.get()),
            quantized: None,
            journal: None,
            weights: Box::new(found),
            tokenizer,
            step: 0,
        })
    }

    /// The same model with the tokenizer of a file.
    pub(crate) fn with_tokenizer(mut self, file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else { return Ok(self) };
        let tokenizer = Tokenizer::from_file(file).or_input()?;
        let tokenizer = as_model_takes(tokenizer, &self.experiment.model)?;
        if let Some(own) = self.tokenizer.get()
            && !have_same_tokens(own, &tokenizer)
        {
            notice::tell(format_args!(
                "warning: the tokenizer {} has other tokens than the model's own: it reads and writes other ids than it was trained on",
                file.display()
            ));
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
fn refuse_adapter(path: &Path, adapter: Option<&Path>, kind: &str) -> Result<(), Failure> {
    match adapter {
        None => Ok(()),
        Some(_) => Err(Failure::input(format!(
            "{} is {kind}, and `--adapter` is for a Hugging Face folder, a .safetensors, .ot or .gguf file: import \
             that with its adapter first",
            path.display()
        ))),
    }
}

/// The tokenizer of a file, if there is one.
fn read_tokenizer(file: &Path) -> StoredTokenizer {
    let found = file.is_file();
    StoredTokenizer::of(
        found
            .then(|| Tokenizer::from_file(file).or_input())
            .transpose(),
    )
}

/// The tokenizer of another format.
fn tokenizer_of(found: ForeignTokenizer) -> Result<Tokenizer, Failure> {
    match found {
        ForeignTokenizer::File(file) => Tokenizer::from_file(&file).or_input(),
        ForeignTokenizer::Embedded { json, config } => {
            let config = config.and_then(|it| it.as_object().cloned());
            let json = json.to_string();
            Tokenizer::from_parts(json.as_bytes(), config.unwrap_or_default()).or_input()
        }
    }
}

/// A tokenizer with the tokens that a model of this kind has beside those of any tokenizer.
pub(crate) fn as_model_takes(
    tokenizer: Tokenizer,
    model: &ModelConfig,
) -> Result<Tokenizer, Failure> {
    if is_genesis(model) {
        with_chat_tokens(&tokenizer)
    } else {
        Ok(tokenizer)
    }
}

/// Whether two tokenizers give the same id to every token.
fn have_same_tokens(left: &Tokenizer, right: &Tokenizer) -> bool {
    let ids = 0..left.vocab_size().max(right.vocab_size()) as u32;
    ids.into_iter().all(|id| left.token(id) == right.token(id))
}

/// Refuses weights that are not those of a model, before anything is read or written.
pub(crate) fn check_weights(
    model: &ModelConfig,
    weights: &dyn WeightSource,
) -> Result<(), Failure> {
    let module = CausalLm::<Selected>::init(model, 0, &Default::default());
    weights::check(&module, weights).or_input()
}

/// Whether a model is of the family of Genesis-152M, whose files have no chat template.
pub(crate) fn is_genesis(model: &ModelConfig) -> bool {
    model.mup.is_some() && model.selective.is_some() && model.mixer.fox.is_some()
}

/// The tokenizer with the tokens of ChatML behind its own and the template of Genesis, where it does not have them.
fn with_chat_tokens(tokenizer: &Tokenizer) -> Result<Tokenizer, Failure> {
    let is_missing = |name: &&str| tokenizer.token_id(name).is_none();
    let missing: Vec<&str> = CHATML_TOKENS.into_iter().filter(is_missing).collect();
    let extended = tokenizer.with_special_tokens(&missing).or_input()?;
    extended.with_chat_template(GENESIS_TEMPLATE).or_input()
}

/// The experiment of a model that was trained elsewhere.
pub(crate) fn untrained(model: ModelConfig) -> Experiment {
    let training = TrainingConfig::default();
    Experiment {
        training: TrainingConfig {
            seq_len: training.seq_len.min(model.max_position_embeddings),
            ..training
        },
        model,
        tokenizer: Default::default(),
        data: Default::default(),
    }
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

/// The special tokens of a tokenizer.
fn token_ids(tokenizer: Option<&Tokenizer>) -> TokenIds {
    TokenIds {
        bos: tokenizer.and_then(Tokenizer::bos_id),
        eos: tokenizer.and_then(Tokenizer::eos_id).into_iter().collect(),
        pad: tokenizer.and_then(Tokenizer::pad_id),
    }
}
