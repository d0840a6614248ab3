//! What can go wrong between text and ids.

use std::path::PathBuf;

/// Error of the `tokenizers` crate.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer that cannot be read, trained, saved or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file is missing or unreadable.
    #[error("cannot read the tokenizer `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The content is no tokenizer.
    #[error("{origin} is no Hugging Face `tokenizer.json`")]
    Invalid {
        /// File, or "the given JSON".
        origin: String,
        /// What the parser said.
        #[source]
        source: Cause,
    },
    /// A file beside `tokenizer.json` that changes its meaning cannot be understood.
    #[error("`{}` holds {found}, expected a JSON object", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
        /// What is in it, or what the parser said.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot write the tokenizer `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A vocabulary that cannot hold the bytes and the special tokens.
    #[error(
        "a vocabulary of {vocab_size} is too small, expected at least {min} (256 bytes and the special tokens)"
    )]
    VocabularyTooSmall {
        /// As asked for.
        vocab_size: usize,
        /// Smallest possible.
        min: usize,
    },
    /// There was no text to train on.
    #[error("no text to train a tokenizer on")]
    NoText,
    /// The tokenizer refused a text (for example an unknown symbol without an unknown token).
    #[error("the tokenizer cannot encode this text")]
    Encode {
        /// What it said.
        #[source]
        source: Cause,
    },
    /// A text of which a part cannot be tokenized in pieces, and would fill the memory as a whole.
    #[error(
        "the tokenizer takes the {limit} bytes from byte {at} of the text on for one word, which is the longest that \
         it can be given: put spaces or line ends into the text, or leave it out"
    )]
    Uncut {
        /// Where the part begins.
        at: usize,
        /// The longest part.
        limit: usize,
    },
}
