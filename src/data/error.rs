//! What can go wrong between a file of documents and a batch.

use std::io;
use std::path::PathBuf;

use parquet::errors::ParquetError;

use crate::domain::{Domain, UnknownDomain};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::chat::{ConversationError, TemplateError};

/// Data that cannot be found, read, tokenized or packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DataError {
    /// A path does not exist or may not be opened.
    #[error("cannot open the data `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A folder without a file of a known format.
    #[error("no data in the folder `{}`, expected files named {FORMATS}", path.display())]
    NoFiles { path: PathBuf },
    /// A file whose name ends in none of the known ways.
    #[error("`{}` has an unknown format, expected a name ending in {FORMATS}", path.display())]
    UnknownFormat { path: PathBuf },
    /// A file breaks off or cannot be decompressed.
    #[error("cannot read `{}` after line {line}: damaged or incomplete", path.display())]
    Read {
        path: PathBuf,
        /// Last line that could be read, 0 for none.
        line: u64,
        #[source]
        source: io::Error,
    },
    /// A line that is not an object with the expected fields.
    #[error("`{}` line {line}, column {column}: broken JSON, {reason}", path.display())]
    BrokenJson {
        path: PathBuf,
        line: u64,
        column: usize,
        reason: String,
    },
    /// A line that is not UTF-8.
    #[error("`{}` line {line}, byte {column}: invalid UTF-8", path.display())]
    InvalidUtf8 {
        path: PathBuf,
        line: u64,
        /// Position of the first bad byte in the line (JSONL) or in the text (parquet), from 1.
        column: usize,
    },
    /// A document without text.
    #[error("`{}` line {line}: no field `text`, expected {{\"text\": \"...\", \"domain\": \"...\"}} or {{\"messages\": [...]}}", path.display())]
    MissingText { path: PathBuf, line: u64 },
    /// A conversation that the chat template does not render.
    #[error("`{}` line {line}: {source}", path.display())]
    Template {
        path: PathBuf,
        line: u64,
        source: Box<TemplateError>,
    },
    /// A conversation with something in it that would be lost.
    #[error("`{}` line {line}: {source}", path.display())]
    Conversation {
        path: PathBuf,
        line: u64,
        source: ConversationError,
    },
    /// A document whose text is empty.
    #[error("`{}` line {line}: the field `text` is empty", path.display())]
    EmptyText { path: PathBuf, line: u64 },
    /// A tag that names no domain.
    #[error("`{}` line {line}: {tag}; `--unknown-domain general` takes such documents as general", path.display())]
    UnknownDomain {
        path: PathBuf,
        line: u64,
        tag: UnknownDomain,
    },
    /// A line without an end.
    #[error("`{}` line {line} is longer than {limit_bytes} bytes, expected one document a line", path.display())]
    LineTooLong {
        path: PathBuf,
        line: u64,
        limit_bytes: u64,
    },
    /// A parquet file that cannot be read.
    #[error("cannot read `{}` after row {row} as parquet", path.display())]
    Parquet {
        path: PathBuf,
        row: u64,
        #[source]
        source: ParquetError,
    },
    /// A parquet file without a usable column.
    #[error("`{}`: column `{column}` {reason}", path.display())]
    ParquetColumn {
        path: PathBuf,
        column: &'static str,
        reason: &'static str,
    },
    /// The tokenizer refuses a document.
    #[error("`{}` line {line} cannot be tokenized", path.display())]
    Tokenize {
        path: PathBuf,
        line: u64,
        #[source]
        source: TokenizerError,
    },
    /// Files without a single document.
    #[error("no documents in {files} file(s), first `{}`, expected a JSON object with `text` on every line", first.display())]
    NoDocuments { files: usize, first: PathBuf },
    /// The cache of tokens cannot be written or read.
    #[error("cannot use the token cache `{}`", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A shard whose content contradicts itself.
    #[error("the token cache `{}` is damaged ({reason}): delete it and start again", path.display())]
    DamagedShard { path: PathBuf, reason: &'static str },
    /// A shard of another version of the format.
    #[error("the token cache `{}` is of another version: delete it and start again", path.display())]
    OtherShard { path: PathBuf },
    /// A damaged shard that cannot be built again as it was.
    #[error("the token cache `{}` is damaged, and `{}` is no longer the text that it was made from: start again", path.display(), source_path.display())]
    ChangedSource { path: PathBuf, source_path: PathBuf },
    /// More documents than can be numbered.
    #[error("`{}` has more than {limit} documents, split it into several files", path.display())]
    TooManyDocuments { path: PathBuf, limit: u64 },
    /// All documents together do not fill a row.
    #[error("the data has {tokens} tokens, a row takes {seq_len}: give more data or a shorter row")]
    TooSmall { tokens: u64, seq_len: usize },
    /// A setting out of its range.
    #[error("`{field}` is {value}, expected {expected}")]
    Setting {
        field: &'static str,
        value: String,
        expected: &'static str,
    },
    /// A mix that cannot be read.
    #[error("the mix `{mix}` is wrong: {reason}; expected for example `code=0.3,math=0.2`")]
    Mix { mix: String, reason: String },
    /// A mix names a domain that the data does not have.
    #[error(
        "the mix names the domain `{domain}`, but the data has only: {}",
        names(present)
    )]
    AbsentDomain {
        domain: Domain,
        present: Vec<Domain>,
    },
    /// Named weights leave a share to other domains, of which there are none.
    #[error(
        "the weights of the mix sum to {sum}, and the data has no other domain for the rest: let them sum to 1"
    )]
    MixTooSmall { sum: f64 },
    /// A saved position of another stream.
    #[error(
        "the saved data position does not fit: {reason}; go on with the same data, mix and seed, or start over"
    )]
    Position { reason: String },
}

const FORMATS: &str = ".jsonl, .jsonl.gz, .jsonl.zst or .parquet";

impl DataError {
    /// Whether only one document is at fault, so that skipping it helps.
    pub fn concerns_one_document(&self) -> bool {
        matches!(
            self,
            Self::BrokenJson { .. }
                | Self::InvalidUtf8 { .. }
                | Self::MissingText { .. }
                | Self::Conversation { .. }
                | Self::EmptyText { .. }
                | Self::UnknownDomain { .. }
        )
    }
}

fn names(domains: &[Domain]) -> String {
    let names: Vec<&str> = domains.iter().map(|domain| domain.name()).collect();
    names.join(", ")
}
