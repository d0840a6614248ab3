//! Small corpora for the tests of this module.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Corpus, Document, Origin};
use crate::domain::Domain;
use crate::tokenizer::Tokenizer;

/// An in-memory corpus of `(domain, text)` pairs with the byte tokenizer; an empty domain means no tag.
pub(super) fn corpus(documents: &[(&str, &str)]) -> Arc<Corpus> {
    let documents = (1..).zip(documents).map(|(line, (domain, text))| {
        Ok(Document {
            text: (*text).into(),
            conversation: None,
            domain: domain.parse::<Domain>().ok(),
            origin: Origin {
                file: Path::new("test.jsonl").into(),
                line,
            },
        })
    });
    Arc::new(Corpus::in_memory(documents, &Tokenizer::bytes()).unwrap())
}

/// Documents with lengths from 1 to `max_bytes`, of several domains.
pub(super) fn mixed_corpus(count: usize, max_bytes: usize) -> Arc<Corpus> {
    let domains = ["code", "math", "code", "", "legal", "code", "general"];
    let texts: Vec<String> = (0..count)
        .map(|i| {
            let letter = char::from(b'a' + (i % 26) as u8);
            letter.to_string().repeat(i * 7919 % max_bytes + 1)
        })
        .collect();
    let documents: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| (domains[i % domains.len()], text.as_str()))
        .collect();
    corpus(&documents)
}

/// Writes a file into a temporary folder.
pub(super) fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}
