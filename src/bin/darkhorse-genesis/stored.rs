//! A model on disk, whatever wrote it, before its weights are anywhere else.

use std::path::{Path, PathBuf};

use darkhorse_genesis::checkpoint::{FileEntry, Run};
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::interop::hugging_face::TokenIds;
use darkhorse_genesis::interop::{ForeignModel, ForeignTokenizer, Origin};
use darkhorse_genesis::model::weights::WeightSource;
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::TrainingConfig;
use darkhorse_genesis::training::state::MODEL_FILE;

use crate::failure::{Failure, OrInput};

/// File of a checkpoint that was imported: what its first files said beside the model.
pub(crate) const ORIGIN_FILE: &str = "origin.json";

/// A model on disk: its configuration, and its weights to be read.
pub(crate) struct Stored {
    pub(crate) experiment: Experiment,
    pub(crate) weights: Box<dyn WeightSource>,
    /// Not every file has one.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// What other formats have a place for and a model here has not.
    pub(crate) origin: Origin,
    /// What happened while it was trained, if it is a run.
    pub(crate) journal: Option<PathBuf>,
    /// Optimizer steps it was trained for.
    pub(crate) step: u64,
}

impl Stored {
    /// Opens a run, a Hugging Face folder, a `.safetensors` or a `.gguf` file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        match path.join("checkpoints").is_dir() {
            true => Self::of_run(&Run::open(path).or_input()?),
            false => Self::foreign(path),
        }
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

    /// The newest checkpoint of a run.
    pub(crate) fn of_run(run: &Run) -> Result<Self, Failure> {
        let Some(saved) = run.newest().or_input()? else {
            return Err(Failure::input(format!(
                "run `{}` has no checkpoint yet: go on with it by `train --out {0} --resume`",
                run.path().display()
            )));
        };
        let experiment: Experiment = run.config().or_input()?;
        experiment.validate().or_input()?;
        saved.verify_file(MODEL_FILE).or_input()?;
        let tokenizer = match run.tokenizer_path().is_file() {
            true => Some(Tokenizer::from_file(&run.tokenizer_path()).or_input()?),
            false => None,
        };
        let is_origin = |file: &FileEntry| file.name == ORIGIN_FILE;
        let origin = match saved.manifest().files.iter().any(is_origin) {
            true => saved.json(ORIGIN_FILE).or_input()?,
            false => Origin {
                token_ids: token_ids(tokenizer.as_ref()),
                ..Default::default()
            },
        };
        Ok(Self {
            origin,
            weights: Box::new(saved.tensors(MODEL_FILE).or_input()?),
            step: saved.step(),
            journal: Some(run.metrics_path()),
            experiment,
            tokenizer,
        })
    }

    /// Refuses a tokenizer that gives ids which the model does not have.
    pub(crate) fn check_tokenizer(&self) -> Result<(), Failure> {
        let tokens = self.tokenizer.as_ref().map_or(0, Tokenizer::vocab_size);
        let rows = self.experiment.model.vocab_size;
        if tokens <= rows {
            return Ok(());
        }
        Err(Failure::input(format!(
            "the tokenizer of {} has {tokens} tokens, the model {rows}: they do not belong together",
            self.weights.path().display()
        )))
    }

    fn foreign(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Err(Failure::input(format!(
                "{} does not exist, expected a run, a Hugging Face folder, a .safetensors, .ot or .gguf file",
                path.display()
            )));
        }
        let found = ForeignModel::open(path).or_input()?;
        let tokenizer = match found.tokenizer {
            None => None,
            Some(ForeignTokenizer::File(file)) => Some(Tokenizer::from_file(&file).or_input()?),
            Some(ForeignTokenizer::Embedded { json, config }) => {
                let config = config.and_then(|it| it.as_object().cloned());
                let json = json.to_string();
                Some(
                    Tokenizer::from_parts(json.as_bytes(), config.unwrap_or_default())
                        .or_input()?,
                )
            }
        };
        let training = TrainingConfig::default();
        Ok(Self {
            experiment: Experiment {
                training: TrainingConfig {
                    seq_len: training.seq_len.min(found.model.max_position_embeddings),
                    ..training
                },
                model: found.model,
                tokenizer: Default::default(),
                data: Default::default(),
            },
            weights: found.weights,
            tokenizer,
            origin: found.origin,
            journal: None,
            step: 0,
        })
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
