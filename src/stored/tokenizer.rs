//! The tokenizer of a model on disk, which matters to whoever reads or writes text.

use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use crate::interop::ForeignTokenizer;
use crate::interop::hugging_face::TokenIds;
use crate::model::ModelConfig;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{CHATML_TOKENS, GENESIS_TEMPLATE};

/// A model's tokenizer, as far as there is one.
#[derive(Debug, Clone, Default)]
pub enum StoredTokenizer {
    /// The model has none.
    #[default]
    Absent,
    /// It has one.
    Read(Tokenizer),
    /// It has one that cannot be read: why.
    Unreadable(Arc<OpenError>),
}

impl StoredTokenizer {
    /// What reading has come to.
    pub(super) fn of(read: Result<Option<Tokenizer>, OpenError>) -> Self {
        match read {
            Ok(None) => Self::Absent,
            Ok(Some(tokenizer)) => Self::Read(tokenizer),
            Err(error) => Self::Unreadable(Arc::new(error)),
        }
    }

    /// The tokenizer of a file, if there is one.
    pub(super) fn of_file(file: &Path) -> Self {
        let found = file.is_file().then(|| Tokenizer::from_file(file));
        Self::of(found.transpose().map_err(OpenError::from))
    }

    /// The tokenizer of another format.
    pub(super) fn of_foreign(found: ForeignTokenizer) -> Result<Tokenizer, OpenError> {
        Ok(match found {
            ForeignTokenizer::File(file) => Tokenizer::from_file(&file)?,
            ForeignTokenizer::Embedded { json, config } => {
                let config = config.and_then(|it| it.as_object().cloned());
                let json = json.to_string();
                Tokenizer::from_parts(json.as_bytes(), config.unwrap_or_default())?
            }
        })
    }

    /// The tokenizer, if there is one that can be read.
    pub fn get(&self) -> Option<&Tokenizer> {
        match self {
            Self::Read(tokenizer) => Some(tokenizer),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// The tokenizer, for who cannot do without the one that is there.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn readable(&self) -> Result<Option<&Tokenizer>, OpenError> {
        match self {
            Self::Absent => Ok(None),
            Self::Read(tokenizer) => Ok(Some(tokenizer)),
            Self::Unreadable(why) => Err(OpenError::UnreadableTokenizer(why.clone())),
        }
    }
}

/// A tokenizer with the tokens that a model of this kind has beside those of any tokenizer.
pub(crate) fn as_model_takes(
    tokenizer: Tokenizer,
    model: &ModelConfig,
) -> Result<Tokenizer, OpenError> {
    if is_genesis(model) {
        with_chat_tokens(&tokenizer)
    } else {
        Ok(tokenizer)
    }
}

/// Whether a model is of the family of Genesis-152M, whose files have no chat template.
pub(super) fn is_genesis(model: &ModelConfig) -> bool {
    model.mup.is_some() && model.selective.is_some() && model.mixer.fox.is_some()
}

/// The tokenizer with the tokens of ChatML behind its own and the template of Genesis, where it does not have them.
pub(super) fn with_chat_tokens(tokenizer: &Tokenizer) -> Result<Tokenizer, OpenError> {
    let is_missing = |name: &&str| tokenizer.token_id(name).is_none();
    let missing: Vec<&str> = CHATML_TOKENS.into_iter().filter(is_missing).collect();
    let extended = tokenizer.with_special_tokens(&missing)?;
    Ok(extended.with_chat_template(GENESIS_TEMPLATE)?)
}

/// Whether two tokenizers give the same id to every token.
pub(super) fn have_same_tokens(left: &Tokenizer, right: &Tokenizer) -> bool {
    let ids = 0..left.vocab_size().max(right.vocab_size()) as u32;
    ids.into_iter().all(|id| left.token(id) == right.token(id))
}

/// The special tokens of a tokenizer.
pub(super) fn token_ids(tokenizer: Option<&Tokenizer>) -> TokenIds {
    TokenIds {
        bos: tokenizer.and_then(Tokenizer::bos_id),
        eos: tokenizer.and_then(Tokenizer::eos_id).into_iter().collect(),
        pad: tokenizer.and_then(Tokenizer::pad_id),
    }
}
