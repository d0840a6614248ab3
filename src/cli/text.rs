//! The documents of a command.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::notice;
use crate::data::{Corpus, Source, SourceOptions};
use crate::domain::Domain;
use crate::tokenizer::Tokenizer;

/// Documents that a command reads once.
#[derive(Debug, Clone, Args)]
pub(crate) struct TextArgs {
    /// Files or folders of documents
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) data: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
}

impl TextArgs {
    /// Finds the documents, and tells the user which files are left out.
    pub(crate) fn source(&self) -> Result<Source, Failure> {
        self.reading.source(&self.data)
    }
}

/// How documents are read.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadingArgs {
    /// Skip, count and report unreadable lines instead of stopping at the first
    #[arg(long)]
    skip_bad_lines: bool,
    /// Domain for documents with an unknown tag [default: they are refused]
    #[arg(long, value_name = "DOMAIN")]
    unknown_domain: Option<Domain>,
    /// Key or column that holds the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
}

impl ReadingArgs {
    /// Finds the documents in `data`, and tells the user which files are left out.
    pub(crate) fn source(&self, data: &[PathBuf]) -> Result<Source, Failure> {
        let options = SourceOptions {
            skip_bad_lines: self.skip_bad_lines,
            unknown_domain: self.unknown_domain,
            text_field: self.text_field.clone(),
            day: None,
        };
        let source = Source::open(data, options).or_input()?;
        if !source.left_out().is_empty() {
            notice::tell(source.left_out());
        }
        Ok(source)
    }
}

/// Tokenizes documents for a model into the temporary folder `cache`. Tells the user what was skipped.
pub(crate) fn tokenized(source: &Source, model: &Loaded, cache: &Path) -> Result<Corpus, Failure> {
    let rows = model.experiment.model.vocab_size;
    tokenized_for(source, model.tokenizer()?, rows, cache)
}

/// Tokenizes documents for a model with `rows` tokens, as [`tokenized`] does.
pub(crate) fn tokenized_for(
    source: &Source,
    tokenizer: &Tokenizer,
    rows: usize,
    cache: &Path,
) -> Result<Corpus, Failure> {
    let corpus = Corpus::open(source, tokenizer, cache, notice::progress()).or_input()?;
    let skipped = corpus.skipped();
    if skipped.count > 0 {
        notice::tell(skipped);
    }
    if tokenizer.text_vocab_size() > rows {
        refuse_ids_beyond(&corpus, tokenizer, rows)?;
    }
    Ok(corpus)
}

/// Refuses a document with a token beyond the model's vocabulary.
fn refuse_ids_beyond(corpus: &Corpus, tokenizer: &Tokenizer, rows: usize) -> Result<(), Failure> {
    for number in 0..corpus.len() {
        let document = corpus.document(number).or_input()?;
        let beyond = document.tokens.iter().find(|&&id| id as usize >= rows);
        if let Some(&id) = beyond {
            let token = tokenizer.token(id).unwrap_or_default();
            return Err(Failure::input(format!(
                "{}: token {token:?} has the id {id}, and the model has {rows} tokens",
                corpus.origin(number).or_input()?
            )));
        }
    }
    Ok(())
}

/// A temporary folder for [`tokenized`], removed when dropped.
pub(crate) fn passing_folder() -> Result<tempfile::TempDir, Failure> {
    let mut folder = tempfile::Builder::new();
    Ok(folder.prefix("darkhorse-genesis-").tempdir()?)
}
