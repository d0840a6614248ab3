//! Errors from files of documents to batches.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

use super::conversation::TurnsError;
use super::documents::Skipped;
use super::left_out::LeftOut;
use super::place::Place;
use super::record::TEXT;
use crate::domain::{Domain, UnknownDomain};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::chat::TemplateError;

/// Data that cannot be found, read, tokenized or packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DataError {
    /// A path does not exist or cannot be opened.
    #[error("cannot open the data `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A folder without files of a known format.
    #[error("no data in the folder `{}`, expected files named {FORMATS}{}", path.display(), behind(left_out))]
    NoFiles {
        path: PathBuf,
        /// Files that the folder has instead.
        left_out: LeftOut,
    },
    /// A file with an unknown extension.
    #[error("`{}` has an unknown format, expected a name ending in {FORMATS}", path.display())]
    UnknownFormat { path: PathBuf },
    /// A file that is truncated or cannot be decompressed.
    #[error("cannot read `{}` after line {line}: damaged or incomplete", path.display())]
    Read {
        path: PathBuf,
        /// Last line that could be read; 0 if there is none.
        line: u64,
        #[source]
        source: io::Error,
    },
    /// A document that is not a JSON object with the expected fields.
    #[error("`{}`{place}, {}: broken JSON, {reason}", path.display(), place.position(*column))]
    BrokenJson {
        path: PathBuf,
        place: Place,
        column: usize,
        reason: String,
    },
    /// A document that is not UTF-8.
    #[error("`{}`{place}, byte {column}: invalid UTF-8", path.display())]
    InvalidUtf8 {
        path: PathBuf,
        place: Place,
        /// Position of the first bad byte in the line (JSONL) or in the text (parquet), from 1.
        column: usize,
    },
    /// A document without the text's field.
    #[error("`{}`{place}: no field `{field}`{}", path.display(), instead(field, present))]
    MissingText {
        path: PathBuf,
        place: Place,
        field: String,
        /// Fields that the document has.
        present: Vec<String>,
    },
    /// A document whose text or conversation is null.
    #[error("`{}`{place}: `{field}` is null, expected {}", path.display(), match field.as_str() {
        "messages" | "conversations" => "a list of messages",
        _ => "words",
    })]
    NullText {
        path: PathBuf,
        place: Place,
        field: String,
    },
    /// A conversation in an unexpected form.
    #[error("`{}`{place}: {source}", path.display())]
    Turns {
        path: PathBuf,
        place: Place,
        source: TurnsError,
    },
    /// A conversation that the chat template cannot render.
    #[error("`{}` {} {line}: {source}", path.display(), unit(path))]
    Template {
        path: PathBuf,
        line: u64,
        source: Box<TemplateError>,
    },
    /// A document whose text is empty.
    #[error("`{}`{place}: the text is empty, expected words", path.display())]
    EmptyText { path: PathBuf, place: Place },
    /// A tag that is no domain.
    #[error("`{}`{place}: {tag}; `--unknown-domain general` takes such documents as general", path.display())]
    UnknownDomain {
        path: PathBuf,
        place: Place,
        tag: UnknownDomain,
    },
    /// A line or a file that exceeds the size limit.
    #[error("`{}`{place} is longer than {limit_bytes} bytes, expected shorter documents: split it", path.display())]
    TooLong {
        path: PathBuf,
        place: Place,
        limit_bytes: u64,
    },
    /// A parquet file that cannot be read.
    #[error("cannot read `{}` after row {row} as parquet: damaged or of an unknown kind", path.display())]
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
        column: String,
        reason: String,
    },
    /// A document that the tokenizer refuses.
    #[error("`{}` {} {line} cannot be tokenized: {source}", path.display(), unit(path))]
    Tokenize {
        path: PathBuf,
        line: u64,
        source: TokenizerError,
    },
    /// Files without any document.
    #[error("no documents in {}, first `{}`{}", counted(*files, "file"), first.display(), why(skipped))]
    NoDocuments {
        files: usize,
        first: PathBuf,
        /// Documents that were skipped.
        skipped: Skipped,
    },
    /// The token cache cannot be written or read.
    #[error("cannot use the token cache `{}`", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A damaged shard of the token cache.
    #[error("the token cache `{}` is damaged ({reason}): delete it and start again", path.display())]
    DamagedShard { path: PathBuf, reason: &'static str },
    /// A shard of another format version.
    #[error("the token cache `{}` is of another version: delete it and start again", path.display())]
    OtherShard { path: PathBuf },
    /// A damaged shard whose source file has changed, so that it cannot be rebuilt.
    #[error("the token cache `{}` is damaged, and `{}` is no longer the text that it was made from: start again", path.display(), source_path.display())]
    ChangedSource { path: PathBuf, source_path: PathBuf },
    /// More documents than fit into a shard.
    #[error("`{}` has more than {limit} documents, split it into several files", path.display())]
    TooManyDocuments { path: PathBuf, limit: u64 },
    /// All documents together are shorter than a row.
    #[error("the data has {tokens} tokens, a row takes {seq_len}: give more data or a shorter row")]
    TooSmall { tokens: u64, seq_len: usize },
    /// A setting that is out of range.
    #[error("`{field}` is {value}, expected {expected}")]
    Setting {
        field: &'static str,
        value: String,
        expected: &'static str,
    },
    /// A mix that cannot be parsed, or is invalid.
    #[error("the mix `{mix}` is wrong: {reason}; expected for example `code=0.3,math=0.2`")]
    Mix { mix: String, reason: String },
    /// A mix with a domain that the data does not have.
    #[error(
        "the mix names the domain `{domain}`, but the data has only: {}",
        names(present)
    )]
    AbsentDomain {
        domain: Domain,
        present: Vec<Domain>,
    },
    /// Weights that sum to less than 1 although the data has no other domain for the rest.
    #[error(
        "the weights of the mix sum to {sum}, and the data has no other domain for the rest: let them sum to 1"
    )]
    MixTooSmall { sum: f64 },
    /// A saved position that does not belong to this stream.
    #[error(
        "the saved data position does not fit: {reason}; go on with the same data, mix and seed, or start over"
    )]
    Position { reason: String },
}

const FORMATS: &str = ".jsonl, .json or .txt (each also with .gz or .zst behind it) or .parquet";

impl DataError {
    /// Whether only one document is at fault, so that skipping it helps.
    pub fn concerns_one_document(&self) -> bool {
        matches!(
            self,
            Self::BrokenJson { .. }
                | Self::InvalidUtf8 { .. }
                | Self::MissingText { .. }
                | Self::NullText { .. }
                | Self::Turns { .. }
                | Self::EmptyText { .. }
                | Self::UnknownDomain { .. }
                | Self::Tokenize { .. }
                | Self::Template { .. }
        )
    }
}

/// Expected fields and remedy for a missing text field.
fn instead(field: &str, present: &[String]) -> String {
    if field == TEXT {
        return format!(
            ", expected {{\"{TEXT}\": \"...\", \"domain\": \"...\"}}, {{\"messages\": [...]}} or {{\"conversations\": [...]}}; \
             `--text-field NAME` reads the text of another field"
        );
    }
    match present {
        [] => ", which was to hold the text; it has no field".into(),
        present => format!(
            ", which was to hold the text; it has `{}`",
            present.join("`, `")
        ),
    }
}

fn behind(left_out: &LeftOut) -> String {
    if left_out.is_empty() {
        String::new()
    } else {
        format!("; {left_out}")
    }
}

/// The reason why files have no documents.
fn why(skipped: &Skipped) -> String {
    match (skipped.count, skipped.examples.first()) {
        (1, Some(example)) => format!(": the only one cannot be read: {example}"),
        (count, Some(example)) => format!(": {count} cannot be read, the first: {example}"),
        _ => ", expected an object with `text` or `messages` on every line, or a text".into(),
    }
}

/// A count with its noun: `1 file`, `2 files`.
fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Unit of [`Origin`](super::Origin)'s line in a file: `line` or `row`.
fn unit(path: &Path) -> &'static str {
    if path
        .extension()
        .is_some_and(|it| it.eq_ignore_ascii_case("parquet"))
    {
        "row"
    } else {
        "line"
    }
}

fn names(domains: &[Domain]) -> String {
    let names: Vec<&str> = domains.iter().map(|domain| domain.name()).collect();
    names.join(", ")
}
