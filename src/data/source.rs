//! From files and folders to a stream of documents, in bounded memory.
//!
//! A document is a line of JSON, `{"domain": "code", "text": "..."}`, an element of an array of such objects that
//! fills a file, a row of a parquet file, or a file of plain text. This module knows neither tokens nor batches.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::documents::Documents;
use super::error::DataError;
use super::input::Compression;
use super::left_out::LeftOut;
use super::record;
use crate::domain::Domain;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::Day;

/// Bytes of a `.json` file that are read to find out whether it is data.
const PROBE_BYTES: u64 = 16 << 20;

/// How documents are read and what happens to invalid ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOptions {
    /// Skip and count invalid documents instead of stopping at the first.
    pub skip_bad_lines: bool,
    /// Domain for documents with an unknown tag; absent: such a tag is an error.
    pub unknown_domain: Option<Domain>,
    /// Key (of JSON) or column (of parquet) of the text, which then takes precedence over a conversation in the same
    /// record; absent: `text`.
    pub text_field: Option<String>,
    /// Date that chat templates see as today; absent: the current date.
    #[serde(default)]
    pub day: Option<Day>,
}

/// A set of files with documents.
#[derive(Debug, Clone)]
pub struct Source {
    files: Vec<SourceFile>,
    left_out: LeftOut,
    options: SourceOptions,
}

/// A file, with its state when it was found.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub(super) path: Arc<Path>,
    pub(super) size: u64,
    /// Modification time in nanoseconds since 1970; 0 if the file system does not tell.
    pub(super) modified_ns: u64,
    pub(super) format: Format,
}

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Lines(Compression),
    Text(Compression),
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        if name.ends_with(".parquet") {
            return Some(Self::Parquet);
        }
        let (stem, compression) = match name.rsplit_once('.')? {
            (stem, "gz") => (stem, Compression::Gzip),
            (stem, "zst") => (stem, Compression::Zstd),
            _ => (&*name, Compression::None),
        };
        let is_lines = [".jsonl", ".ndjson", ".json"]
            .iter()
            .any(|end| stem.ends_with(end));
        if is_lines {
            Some(Self::Lines(compression))
        } else {
            stem.ends_with(".txt").then_some(Self::Text(compression))
        }
    }
}

impl Source {
    /// Finds the files. A folder stands for all files of a known format in it and below (`.jsonl`, `.ndjson`, `.json`
    /// and `.txt`, each optionally with `.gz` or `.zst`, and `.parquet`), sorted by name. Of a folder's `.json` files
    /// only those that hold documents are data; others describe the data.
    ///
    /// # Errors
    ///
    /// [`DataError::Open`], [`DataError::NoFiles`] or [`DataError::UnknownFormat`] with the path.
    pub fn open(paths: &[impl AsRef<Path>], options: SourceOptions) -> Result<Self, DataError> {
        let (mut files, mut left_out) = (Vec::new(), LeftOut::default());
        for path in paths {
            let path = path.as_ref();
            let metadata = open(path, fs::metadata(path))?;
            if metadata.is_dir() {
                let before = files.len();
                let mut folder = Folder {
                    options: &options,
                    files: &mut files,
                    left_out: &mut left_out,
                };
                folder.add(path)?;
                if files.len() == before {
                    return Err(DataError::NoFiles {
                        path: path.into(),
                        left_out,
                    });
                }
            } else {
                let format = Format::of(path)
                    .ok_or_else(|| DataError::UnknownFormat { path: path.into() })?;
                files.push(SourceFile::new(path, format)?);
            }
        }
        // a file that is given twice, for example by its folder too, is read once
        let mut seen = HashSet::new();
        files.retain(|file: &SourceFile| seen.insert(file.path.clone()));
        Ok(Self {
            files,
            left_out,
            options,
        })
    }

    /// Renders conversations with this date.
    pub fn of_day(&self, day: Option<Day>) -> Self {
        let mut source = self.clone();
        source.options.day = day;
        source
    }

    /// Sets the date to today if the tokenizer's template asks for one and none is set; removes it if the template
    /// asks for none.
    pub(super) fn dated(&self, tokenizer: &Tokenizer) -> Self {
        self.of_day(Day::of_data(self.options.day, tokenizer))
    }

    /// Paths of the files, in the order in which they are read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// Total size of the files on disk, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Files in the folders that are not data.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The error of files that hold no valid document.
    pub(crate) fn without_documents(&self) -> DataError {
        let first = self.paths().next().unwrap_or(Path::new(""));
        let mut documents = self.documents();
        documents.by_ref().for_each(drop);
        DataError::NoDocuments {
            files: self.files.len(),
            first: first.into(),
            skipped: documents.skipped().clone(),
        }
    }

    /// Iterates over all documents once.
    pub fn documents(&self) -> Documents {
        Documents::new(self.files.clone(), self.options.clone())
    }

    /// Texts of [`Self::documents`] up to the first error, which is stored in `error`; for
    /// [`Tokenizer::train`](crate::tokenizer::Tokenizer::train).
    pub fn texts<'a>(
        &self,
        error: &'a mut Option<DataError>,
    ) -> impl Iterator<Item = String> + Send + use<'a> {
        self.documents().map_while(move |document| match document {
            Ok(document) => Some(document.text),
            Err(found) => {
                *error = Some(found);
                None
            }
        })
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    pub(super) fn options(&self) -> &SourceOptions {
        &self.options
    }
}

impl SourceFile {
    fn new(path: &Path, format: Format) -> Result<Self, DataError> {
        let path = open(path, path.canonicalize())?;
        let metadata = open(&path, fs::metadata(&path))?;
        let modified = metadata.modified().ok();
        let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            path: path.into(),
            size: metadata.len(),
            modified_ns: since_epoch.map_or(0, |time| time.as_nanos() as u64),
            format,
        })
    }
}

fn open<T>(path: &Path, result: std::io::Result<T>) -> Result<T, DataError> {
    result.map_err(|source| DataError::Open {
        path: path.into(),
        source,
    })
}

/// Collects the files of a folder.
struct Folder<'a> {
    options: &'a SourceOptions,
    files: &'a mut Vec<SourceFile>,
    left_out: &'a mut LeftOut,
}

impl Folder<'_> {
    fn add(&mut self, folder: &Path) -> Result<(), DataError> {
        let mut paths = Vec::new();
        for entry in open(folder, fs::read_dir(folder))? {
            paths.push(open(folder, entry)?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let may_describe = name.to_ascii_lowercase().ends_with(".json");
            if path.is_dir() {
                self.add(&path)?;
                continue;
            }
            match Format::of(&path) {
                Some(format) if !may_describe || self.begins_with_document(&path)? => {
                    self.files.push(SourceFile::new(&path, format)?);
                }
                _ => self.left_out.add(path),
            }
        }
        Ok(())
    }

    /// Whether a JSON file holds documents (an array of objects, or one per line) rather than a single object that
    /// describes others.
    fn begins_with_document(&self, path: &Path) -> Result<bool, DataError> {
        let file = open(path, fs::File::open(path))?;
        let mut lines = BufReader::new(file.take(PROBE_BYTES)).lines();
        let text = |line: String| {
            let line = line.trim_start_matches('\u{FEFF}').trim().to_owned();
            (!line.is_empty()).then_some(line)
        };
        let mut lines = lines.by_ref().map_while(Result::ok).filter_map(text);
        let Some(first) = lines.next() else {
            return Ok(false);
        };
        Ok(match first.strip_prefix('[').map(str::trim_start) {
            Some("") => lines.next().is_some_and(|line| line.starts_with('{')),
            Some(rest) => rest.starts_with('{'),
            None => record::parse(&first, self.options.text_field.as_deref()).is_ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::place::Place;
    use super::super::testing::file;
    use super::*;

    fn names(source: &Source) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        source.paths().map(name).collect()
    }

    #[test]
    fn a_folder_stands_for_its_files_by_name_and_a_file_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("deeper")).unwrap();
        for name in [
            "b.jsonl.gz",
            "a.parquet",
            "deeper/c.JSONL",
            "info.json",
            "x.txt",
            "y.txt.gz",
            "z.md",
            ".d.jsonl",
        ] {
            file(root, name, "");
        }
        let options = SourceOptions::default();

        let source = Source::open(&[root, &root.join("b.jsonl.gz")], options).unwrap();

        let expected = ["a.parquet", "b.jsonl.gz", "c.JSONL", "x.txt", "y.txt.gz"];
        assert_eq!(names(&source), expected);
        let left_out = source.left_out().to_string();
        assert!(left_out.starts_with("2 files left out: "), "{left_out}");
        assert!(left_out.contains("info.json, ") && left_out.ends_with("z.md"));
    }

    #[test]
    fn json_in_a_folder_is_data_if_it_holds_documents() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (name, text) in [
            ("array.json", "\u{FEFF} [\n\n {\"text\": \"a\"}]"),
            ("one-line.json", "[{\"text\": \"a\"}, {\"text\": \"b\"}]"),
            (
                "lines.json",
                "\n{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n{}\n",
            ),
            ("config.json", "{\n  \"text\": \"a\"\n}\n"),
            ("info.json", "{\"splits\": 3}"),
            ("ids.json", "[1, 2]"),
            ("none.json", "[]"),
            ("empty.json", ""),
        ] {
            file(root, name, text);
        }
        let source = Source::open(&[root], SourceOptions::default()).unwrap();
        assert_eq!(
            names(&source),
            ["array.json", "lines.json", "one-line.json"]
        );
        let left_out = source.left_out().to_string();
        assert!(left_out.starts_with("5 files left out: "), "{left_out}");
        assert!(!left_out.contains("..."), "{left_out}");
    }

    #[test]
    fn files_of_which_no_document_can_be_read_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a.jsonl", "{\"text\": null}\nno JSON\n");
        let options = SourceOptions {
            skip_bad_lines: true,
            ..SourceOptions::default()
        };
        let source = Source::open(&[path], options).unwrap();
        let message = source.without_documents().to_string();
        assert!(
            message.starts_with("no documents in 1 file, first `"),
            "{message}"
        );
        let why = "2 cannot be read, the first: `";
        assert!(
            message.contains(why) && message.ends_with("`text` is null, expected words"),
            "{message}"
        );
    }

    #[test]
    fn what_cannot_be_found_is_an_error_with_its_path_and_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let open = |path: PathBuf| {
            let error = Source::open(&[path], SourceOptions::default()).unwrap_err();
            error.to_string()
        };
        assert!(open(root.join("none.jsonl")).contains("none.jsonl"));
        let message = open(root.into());
        assert!(
            message.contains("no data in the folder") && message.contains(".jsonl, .json or .txt")
        );
        file(root, "table.csv", "text\na\n");
        let message = open(root.into());
        assert!(message.contains("; 1 file left out: ") && message.ends_with("table.csv"));
        let message = open(file(root, "x.docx", "hello"));
        assert!(
            message.contains("x.docx` has an unknown format, expected"),
            "{message}"
        );
    }

    #[test]
    fn json_named_outright_is_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "c4.json", "{\"text\":\"a\"}\n");
        let source = Source::open(&[path], SourceOptions::default()).unwrap();
        assert_eq!(source.documents().count(), 1);
    }

    #[test]
    fn texts_keep_the_error_that_ended_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "a.jsonl", "{\"text\":\"a\"}\n{}\n");
        let source = Source::open(&[path], SourceOptions::default()).unwrap();
        let mut error = None;
        assert_eq!(source.texts(&mut error).count(), 1);
        assert!(matches!(
            error,
            Some(DataError::MissingText {
                place: Place::Line(2),
                ..
            })
        ));
    }
}
