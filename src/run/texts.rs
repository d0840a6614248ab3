//! The text of a run, before and after tokenization.

use std::path::Path;
use std::sync::Arc;

use super::error::RunError;
use crate::config::{Experiment, TokenizerConfig};
use crate::data::{Corpus, EmbeddedCorpus, LeftOut, Progress, Skipped, Source, StreamConfig};
use crate::tokenizer::chat::Day;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The documents of an experiment: its files, or the embedded corpus.
#[derive(Debug)]
pub(super) struct Texts {
    train: Source,
    valid: Wanted,
}

/// Requested source of the validation text.
#[derive(Debug)]
enum Wanted {
    Files(Source),
    Share(f64),
    Nothing,
}

/// Source of a run's validation text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validation {
    /// Separate files.
    Files,
    /// Training documents, of which about this share is held out.
    HeldOut(f64),
    /// Nothing: this share was to be held out, but no domain has enough documents.
    TooFewDocuments(f64),
    /// Nothing, as requested.
    Unwanted,
}

/// The tokenized text of a run.
#[derive(Debug)]
pub(super) struct Corpora {
    pub(super) train: Arc<Corpus>,
    pub(super) valid: Option<Arc<Corpus>>,
    pub(super) validation: Validation,
    pub(super) skipped: Skipped,
}

impl Texts {
    pub(super) fn open(experiment: &Experiment, cache: &Path) -> Result<Self, RunError> {
        let data = &experiment.data;
        let options = data.source_options();
        let share = data.valid_share.unwrap_or(0.0);
        let wanted = |files: &[_]| -> Result<Wanted, RunError> {
            Ok(if !files.is_empty() {
                Wanted::Files(Source::open(files, options.clone())?)
            } else if share > 0.0 {
                Wanted::Share(share)
            } else {
                Wanted::Nothing
            })
        };
        if !data.train.is_empty() {
            return Ok(Self {
                train: Source::open(&data.train, options.clone())?,
                valid: wanted(&data.valid)?,
            });
        }
        let embedded = EmbeddedCorpus::unpack(cache)?;
        let files = if data.valid.is_empty() {
            vec![embedded.valid]
        } else {
            data.valid.clone()
        };
        // the embedded corpus has its own validation text, which is used unless none is wanted
        let goes_without = data.valid.is_empty() && data.valid_share == Some(0.0);
        Ok(Self {
            train: Source::open(&[embedded.train], options.clone())?,
            valid: if goes_without {
                Wanted::Nothing
            } else {
                wanted(&files)?
            },
        })
    }

    /// Files in the data folders that are not data.
    pub(super) fn left_out(&self) -> LeftOut {
        let mut all = self.train.left_out().clone();
        if let Wanted::Files(valid) = &self.valid {
            all.extend(valid.left_out());
        }
        all
    }

    pub(super) fn tokenizer(&self, experiment: &Experiment) -> Result<Tokenizer, RunError> {
        let vocab_size = match &experiment.tokenizer {
            TokenizerConfig::File(file) => return Ok(Tokenizer::from_file(file)?),
            TokenizerConfig::Train { vocab_size } => vocab_size,
        };
        let vocab_size = vocab_size.unwrap_or(experiment.model.vocab_size);
        let mut failed = None;
        let tokenizer = Tokenizer::train(self.train.texts(&mut failed), vocab_size);
        match failed {
            Some(error) => Err(error.into()),
            None => match tokenizer {
                Err(TokenizerError::NoText) => Err(self.train.without_documents().into()),
                trained => Ok(trained?),
            },
        }
    }

    pub(super) fn corpora(
        &self,
        tokenizer: &Tokenizer,
        day: Option<Day>,
        (cache, progress): (&Path, Progress),
    ) -> Result<Corpora, RunError> {
        let open = |source: &Source| Corpus::open(&source.of_day(day), tokenizer, cache, progress);
        let train = open(&self.train)?;
        let mut skipped = train.skipped();
        let (train, valid, validation) = match &self.valid {
            Wanted::Nothing => (train, None, Validation::Unwanted),
            Wanted::Files(source) => {
                let valid = open(source)?;
                skipped.add(&valid.skipped());
                (train, Some(valid), Validation::Files)
            }
            Wanted::Share(share) => match train.hold_out(*share)? {
                (train, None) => (train, None, Validation::TooFewDocuments(*share)),
                (train, valid) => (train, valid, Validation::HeldOut(*share)),
            },
        };
        Ok(Corpora {
            train: Arc::new(train),
            valid: valid.map(Arc::new),
            validation,
            skipped,
        })
    }
}

/// How an experiment packs its text into batches.
pub(super) fn stream_config(experiment: &Experiment) -> Result<StreamConfig, RunError> {
    let (data, training) = (&experiment.data, &experiment.training);
    Ok(StreamConfig {
        seq_len: training.seq_len,
        rows: training.batch_size,
        mix: data.mix()?,
        domain_dropout: data.domain_dropout,
        domain_token: data.domain_token,
        seed: training.seed,
    })
}
