//! Iteration over the documents of a [`Source`](super::Source).

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::input;
use super::lines::Lines;
use super::place::Place;
use super::record::Record;
use super::rows::Rows;
use super::source::{Format, SourceFile, SourceOptions};
use super::text_file::TextFile;
use crate::domain::Domain;
use crate::tokenizer::chat::Conversation;

/// Number of skipped lines whose errors are kept.
const MAX_EXAMPLES: usize = 5;

/// The file and line of a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// Line (of JSON) or row (of parquet), from 1; 1 for a file that is one text.
    pub line: u64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A text, or a conversation, with its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text, never empty; for a conversation, the content of its messages.
    pub text: String,
    /// A conversation, of which only the assistant's turns are learned; absent for plain text.
    pub conversation: Option<Conversation>,
    /// The domain it is tagged with; `None`: the document counts as general and the router is told no domain.
    pub domain: Option<Domain>,
    /// File and line of the document.
    pub origin: Origin,
}

impl From<&str> for Document {
    /// An untagged document without a file.
    fn from(text: &str) -> Self {
        Self {
            text: text.into(),
            conversation: None,
            domain: None,
            origin: Origin {
                file: Arc::from(Path::new("memory")),
                line: 1,
            },
        }
    }
}

/// Documents that were skipped because they are invalid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Number of documents.
    pub count: u64,
    /// Error messages of the first few.
    pub examples: Vec<String>,
}

impl Skipped {
    /// One document, skipped for this error.
    pub(super) fn of(error: &DataError) -> Self {
        Self {
            count: 1,
            examples: vec![error.to_string()],
        }
    }

    /// Adds the documents of another source.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        let room = MAX_EXAMPLES.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
    }
}

impl std::fmt::Display for Skipped {
    /// The number of documents, followed by the first messages.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            1 => f.write_str("1 document that cannot be read is left out:")?,
            count if count <= self.examples.len() as u64 => {
                write!(f, "{count} documents that cannot be read are left out:")?;
            }
            count => write!(
                f,
                "{count} documents that cannot be read are left out, the first of them:"
            )?,
        }
        self.examples
            .iter()
            .try_for_each(|example| write!(f, "\n          {example}"))
    }
}

/// Iterator over documents, created by [`Source::documents`](super::Source::documents). Ends after an error.
pub struct Documents {
    files: std::vec::IntoIter<SourceFile>,
    current: Option<(Arc<Path>, Reader)>,
    options: SourceOptions,
    skipped: Skipped,
    bytes_read: Arc<AtomicU64>,
    failed: bool,
}

enum Reader {
    Lines(Lines),
    Rows(Box<Rows>),
    Text(TextFile),
}

impl Documents {
    pub(super) fn new(files: Vec<SourceFile>, options: SourceOptions) -> Self {
        Self {
            files: files.into_iter(),
            current: None,
            options,
            skipped: Skipped::default(),
            bytes_read: Arc::default(),
            failed: false,
        }
    }

    /// Documents of JSON read from `input`; `name` stands for the file in errors.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if `input` fails.
    pub fn of_json(
        input: impl BufRead + Send + 'static,
        name: &str,
        options: SourceOptions,
    ) -> Result<Self, DataError> {
        let name: Arc<Path> = Path::new(name).into();
        let input = input::unmarked(Box::new(input)).map_err(|source| DataError::Read {
            path: name.to_path_buf(),
            line: 0,
            source,
        })?;
        let field = options.text_field.as_deref().map(Arc::from);
        let lines = Lines::of(&name, input, field);
        let mut documents = Self::new(Vec::new(), options);
        documents.current = Some((name, Reader::Lines(lines)));
        Ok(documents)
    }

    /// Documents skipped so far.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Bytes read from the disk so far, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.bytes_read.clone()
    }

    fn open_next(&mut self) -> Option<Result<(), DataError>> {
        let file = self.files.next()?;
        let (path, bytes_read) = (&file.path, self.bytes_read.clone());
        let field = self.options.text_field.as_deref().map(Arc::from);
        let reader = match file.format {
            Format::Lines(compression) => {
                Lines::open(path, compression, field, bytes_read).map(Reader::Lines)
            }
            Format::Text(compression) => {
                TextFile::open(path, compression, bytes_read).map(Reader::Text)
            }
            Format::Parquet => {
                Rows::open(path, field, bytes_read).map(|rows| Reader::Rows(Box::new(rows)))
            }
        };
        Some(reader.map(|reader| self.current = Some((file.path, reader))))
    }

    fn next_document(&mut self) -> Option<Result<Document, DataError>> {
        loop {
            let Some((path, reader)) = &mut self.current else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let record = match reader {
                Reader::Lines(lines) => lines.next(),
                Reader::Rows(rows) => rows.next(),
                Reader::Text(text) => text.next(),
            };
            match record {
                None => self.current = None,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok((place, record))) => {
                    return Some(check(record, path, place, self.options.unknown_domain));
                }
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match self.next_document()? {
                Err(error) if self.options.skip_bad_lines && error.concerns_one_document() => {
                    self.skipped.add(&Skipped::of(&error));
                }
                result => {
                    self.failed = result.is_err();
                    return Some(result);
                }
            }
        }
    }
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("file", &self.current.as_ref().map(|(path, _)| path))
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

fn check(
    record: Record,
    file: &Arc<Path>,
    place: Place,
    unknown_domain: Option<Domain>,
) -> Result<Document, DataError> {
    if record.text.trim().is_empty() {
        return Err(DataError::EmptyText {
            path: file.to_path_buf(),
            place,
        });
    }
    let domain = match record.tag.as_deref().map(str::parse::<Domain>) {
        None => None,
        Some(Ok(domain)) => Some(domain),
        Some(Err(tag)) => Some(unknown_domain.ok_or_else(|| DataError::UnknownDomain {
            path: file.to_path_buf(),
            place,
            tag,
        })?),
    };
    Ok(Document {
        text: record.text,
        conversation: record.conversation,
        domain,
        origin: Origin {
            file: file.clone(),
            line: place.line(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::super::testing::file;
    use super::*;

    /// Reads a file of these lines.
    fn read(content: &str, options: SourceOptions) -> (Vec<Document>, Skipped, Option<DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a.jsonl", content);
        let mut documents = Source::open(&[path], options).unwrap().documents();
        let (mut good, mut error) = (Vec::new(), None);
        for document in documents.by_ref() {
            match document {
                Ok(document) => good.push(document),
                Err(found) => error = Some(found),
            }
        }
        (good, documents.skipped().clone(), error)
    }

    #[test]
    fn a_tag_is_a_domain_or_an_alias_or_absent() {
        let lines = r#"{"text": "a", "domain": "math", "other": [1]}
            {"domain": null, "text": "b"}
            {"text": "c"}"#;
        let (documents, ..) = read(lines, SourceOptions::default());
        let domains: Vec<_> = documents.iter().map(|document| document.domain).collect();
        assert_eq!(domains, [Some(Domain::Mathematics), None, None]);
        assert_eq!(documents[2].origin.line, 3);
        assert!(documents[2].origin.to_string().ends_with("a.jsonl:3"));
    }

    #[test]
    fn a_bad_document_stops_with_its_place_and_the_remedy() {
        for (line, parts) in [
            (r#"{"text": " "}"#, ["line 2", "is empty"]),
            (r#"{"domain": "code"}"#, ["line 2", "no field `text`"]),
            (
                r#"{"text": "a", "domain": "astrology"}"#,
                ["mathematics, code", "--unknown-domain"],
            ),
        ] {
            let content = format!("{{\"text\": \"a\"}}\n{line}\n{{\"text\": \"b\"}}");
            let (good, _, error) = read(&content, SourceOptions::default());
            let message = error.unwrap().to_string();
            assert_eq!(good.len(), 1);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn bad_documents_are_skipped_counted_and_told_on_request() {
        let options = SourceOptions {
            skip_bad_lines: true,
            ..SourceOptions::default()
        };
        let bad = "{\"text\": 5}\n{\"text\": \"a\", \"domain\": \"x\"}\n".repeat(4);
        let (good, skipped, error) = read(&(bad + "{\"text\": \"last\"}"), options);
        assert!(error.is_none());
        assert_eq!(good.len(), 1);
        assert_eq!(skipped.count, 8);
        assert_eq!(skipped.examples.len(), MAX_EXAMPLES);
        assert!(skipped.examples[0].contains("line 1"));
    }

    #[test]
    fn unknown_domains_become_the_given_one() {
        let options = SourceOptions {
            unknown_domain: Some(Domain::General),
            ..SourceOptions::default()
        };
        let (good, ..) = read(r#"{"text": "a", "domain": "astrology"}"#, options);
        assert_eq!(good[0].domain, Some(Domain::General));
    }
}
