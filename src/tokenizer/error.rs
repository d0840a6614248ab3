//! Errors between text and token ids.

use std::path::PathBuf;

/// An error of the `tokenizers` crate.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer cannot be read, trained, saved or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file is missing or unreadable.
    #[error("cannot read the tokenizer `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The content is not a tokenizer.
    #[error("{origin} is no Hugging Face `tokenizer.json`")]
    Invalid {
        /// File, or "the given JSON".
        origin: String,
        /// The parser's error.
        #[source]
        source: Cause,
    },
    /// A file beside `tokenizer.json` that changes its meaning cannot be understood.
    #[error("`{}` holds {found}, expected a JSON object", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
        /// The content that was found, or the parser's error.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot write the tokenizer `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The vocabulary is smaller than the bytes and the special tokens.
    #[error(
        "a vocabulary of {vocab_size} is too small, expected at least {min} (256 bytes and the special tokens)"
    )]
    VocabularyTooSmall {
        /// Requested size.
        vocab_size: usize,
        /// Smallest possible size.
        min: usize,
    },
    /// There was no text to train on.
    #[error("no text to train a tokenizer on")]
    NoText,
    /// The tokenizer refuses a text, for example because of an unknown symbol without an unknown token.
    #[error("the tokenizer cannot encode this text")]
    Encode {
        /// The tokenizer's error.
        #[source]
        source: Cause,
    },
    /// A part of the text cannot be cut into pieces and is too long to be tokenized at once.
    #[error(
        "the tokenizer takes the {limit} bytes from byte {at} of the text on for one word, which is the longest that \
         it can be given: put spaces or line ends into the text, or leave it out"
    )]
    Uncut {
        /// Byte offset at which the part begins.
        at: usize,
        /// Largest length of a part, in bytes.
        limit: usize,
    },
}
