//! The tokenizer of a model on disk, which matters to commands that read or write text.

use crate::cli::failure::Failure;
use crate::tokenizer::Tokenizer;

/// A model's tokenizer, as far as there is one.
#[derive(Debug, Clone, Default)]
pub(crate) enum StoredTokenizer {
    /// The model has none.
    #[default]
    Absent,
    /// It has one.
    Read(Tokenizer),
    /// It has one that cannot be read: why.
    Unreadable(String),
}

impl StoredTokenizer {
    /// What reading has come to.
    pub(crate) fn of(read: Result<Option<Tokenizer>, Failure>) -> Self {
        match read {
            Ok(None) => Self::Absent,
            Ok(Some(tokenizer)) => Self::Read(tokenizer),
            Err(failure) => Self::Unreadable(failure.line()),
        }
    }

    /// The tokenizer, if there is one that can be read.
    pub(crate) fn get(&self) -> Option<&Tokenizer> {
        match self {
            Self::Read(tokenizer) => Some(tokenizer),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// The tokenizer, for who cannot do without the one that is there.
    pub(crate) fn readable(&self) -> Result<Option<&Tokenizer>, Failure> {
        match self {
            Self::Absent => Ok(None),
            Self::Read(tokenizer) => Ok(Some(tokenizer)),
            Self::Unreadable(why) => Err(Failure::input(why)),
        }
    }
}
