//! The text of a run, before and after it is tokens.

use std::path::Path;
use std::sync::Arc;

use super::error::TrainingError;
use crate::config::{Experiment, TokenizerConfig};
use crate::data::{Corpus, EmbeddedCorpus, Progress, Source};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The files that an experiment names, or the embedded corpus.
#[derive(Debug)]
pub(super) struct Texts {
    train: Source,
    valid: Option<Source>,
}

impl Texts {
    pub(super) fn open(experiment: &Experiment, cache: &Path) -> Result<Self, TrainingError> {
        let data = &experiment.data;
        let options = data.source_options();
        if data.train.is_empty() {
            let embedded = EmbeddedCorpus::unpack(cache)?;
            return Ok(Self {
                train: Source::open(&[embedded.train], options)?,
                valid: Some(Source::open(&[embedded.valid], options)?),
            });
        }
        let valid = match data.valid.is_empty() {
            true => None,
            false => Some(Source::open(&data.valid, options)?),
        };
        Ok(Self {
            train: Source::open(&data.train, options)?,
            valid,
        })
    }

    pub(super) fn tokenizer(&self, experiment: &Experiment) -> Result<Tokenizer, TrainingError> {
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
        cache: &Path,
        progress: Progress,
    ) -> Result<(Arc<Corpus>, Option<Arc<Corpus>>), TrainingError> {
        let open = |source| Corpus::open(source, tokenizer, cache, progress).map(Arc::new);
        let valid = self.valid.as_ref().map(open).transpose()?;
        Ok((open(&self.train)?, valid))
    }
}
