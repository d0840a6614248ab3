//! The tokenizer of a model on disk, which may be absent or unreadable without keeping the model from opening.

use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use crate::interop::ForeignTokenizer;
use crate::interop::hugging_face::TokenIds;
use crate::model::ModelConfig;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{CHATML_TOKENS, GENESIS_TEMPLATE};

/// A model's tokenizer, or why there is none.
#[derive(Debug, Clone, Default)]
pub enum StoredTokenizer {
    /// The model has no tokenizer.
    #[default]
    Absent,
    /// The tokenizer was read.
    Read(Tokenizer),
    /// The tokenizer exists and cannot be read, for this reason.
    Unreadable(Arc<OpenError>),
}

impl StoredTokenizer {
    /// Keeps the outcome of reading a tokenizer.
    pub(super) fn of(read: Result<Option<Tokenizer>, OpenError>) -> Self {
        match read {
            Ok(None) => Self::Absent,
            Ok(Some(tokenizer)) => Self::Read(tokenizer),
            Err(error) => Self::Unreadable(Arc::new(error)),
        }
    }

    /// Reads the tokenizer of a file, if the file exists.
    pub(super) fn of_file(file: &Path) -> Self {
        let found = file.is_file().then(|| Tokenizer::from_file(file));
        Self::of(found.transpose().map_err(OpenError::from))
    }

    /// Builds the tokenizer that a model of another format comes with.
    pub(super) fn of_foreign(found: ForeignTokenizer) -> Result<Tokenizer, OpenError> {
        Ok(match found {
            ForeignTokenizer::File(file) => Tokenizer::from_file(&file)?,
            ForeignTokenizer::WithoutChat(file) => with_chat_tokens(&Tokenizer::from_file(&file)?)?,
            ForeignTokenizer::Embedded { json, config } => {
                let config = config.and_then(|it| it.as_object().cloned());
                let json = json.to_string();
                Tokenizer::from_parts(json.as_bytes(), config.unwrap_or_default())?
            }
        })
    }

    /// The tokenizer, or `None` if it is absent or unreadable.
    pub fn get(&self) -> Option<&Tokenizer> {
        match self {
            Self::Read(tokenizer) => Some(tokenizer),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// The tokenizer, or `None` if it is absent; an unreadable one is an error.
    ///
    /// # Errors
    ///
    /// The reason why the tokenizer cannot be read.
    pub fn readable(&self) -> Result<Option<&Tokenizer>, OpenError> {
        match self {
            Self::Absent => Ok(None),
            Self::Read(tokenizer) => Ok(Some(tokenizer)),
            Self::Unreadable(why) => Err(OpenError::UnreadableTokenizer(why.clone())),
        }
    }
}

/// Adds the tokens that this family of models needs beyond those of the tokenizer's file.
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

/// Adds ChatML's tokens and Genesis' chat template where the tokenizer lacks them.
fn with_chat_tokens(tokenizer: &Tokenizer) -> Result<Tokenizer, OpenError> {
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

/// Special token ids of a tokenizer.
pub(super) fn token_ids(tokenizer: Option<&Tokenizer>) -> TokenIds {
    TokenIds {
        bos: tokenizer.and_then(Tokenizer::bos_id),
        eos: tokenizer.and_then(Tokenizer::eos_id).into_iter().collect(),
        pad: tokenizer.and_then(Tokenizer::pad_id),
    }
}
