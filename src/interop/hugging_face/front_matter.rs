//! License and languages from the front matter of a model card, its `README.md`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Largest part of a card that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Entries that also apply to copies and derivatives of the model.
const KEPT: [&str; 4] = ["license", "license_name", "license_link", "language"];

/// License and languages of a model, verbatim from its card; empty if it states none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrontMatter(String);

impl FrontMatter {
    /// Reads the card in a model folder; empty if the card cannot be read.
    pub fn read(folder: &Path) -> Self {
        let mut text = Vec::new();
        let read = File::open(folder.join("README.md"))
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        match read {
            Ok(_) => Self::parse(&String::from_utf8_lossy(&text)),
            Err(_) => Self::default(),
        }
    }

    /// Extracts the entries from a card's text.
    pub fn parse(card: &str) -> Self {
        let mut lines = card.lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return Self::default();
        }
        let (mut kept, mut keeps, mut ends) = (String::new(), false, false);
        for line in lines {
            if line.trim_end() == "---" {
                ends = true;
                break;
            }
            // an entry continues in lines that are indented, or that are items of a list
            if !line.starts_with([' ', '\t', '-']) {
                keeps = is_kept(line);
            }
            if keeps && !line.trim().is_empty() {
                kept.push_str(line.trim_end());
                kept.push('\n');
            }
        }
        match ends {
            true => Self(kept),
            false => Self::default(),
        }
    }

    /// The entries, each line with its line end.
    pub fn lines(&self) -> &str {
        &self.0
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_kept(line: &str) -> bool {
    let Some((key, value)) = line.split_once(':') else {
        return false;
    };
    // a relative link does not work outside of the original repository
    KEPT.contains(&key.trim_end()) && (key != "license_link" || value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_and_languages_are_taken_word_for_word() {
        let card = "---\r\nlicense: other\nlicense_name: \"a: b\"\nlicense_link: LICENSE\ntags:\n- en\nlanguage:\n- en\n  - de\n\nlibrary_name: x\n---\nlicense: mit\n";
        let expected = "license: other\nlicense_name: \"a: b\"\nlanguage:\n- en\n  - de\n";
        assert_eq!(FrontMatter::parse(card).lines(), expected);
        let linked = "---\nlicense_link: https://example.org/l\n---\n";
        assert_eq!(
            FrontMatter::parse(linked).lines(),
            "license_link: https://example.org/l\n"
        );
    }

    #[test]
    fn a_card_without_front_matter_says_nothing() {
        for card in [
            "",
            "# A model\nlicense: mit\n",
            "---\nlicense: mit\n",
            "text\n---\nlicense: mit\n---\n",
        ] {
            assert!(FrontMatter::parse(card).is_empty(), "{card}");
        }
        assert!(FrontMatter::read(Path::new("no such folder")).is_empty());
    }
}
