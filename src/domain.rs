//! The ten domains that a document can be tagged with, in their fixed order, with their names and aliases.
//!
//! Data reads tags with it, the router looks up its prior by [`Domain::index`], and the tokenizer has one control
//! token per domain. This module knows nothing of experts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Tag of a document without a domain; a domain's tag is its [index](Domain::index).
pub const UNTAGGED: u8 = Domain::COUNT as u8;

/// Number of tags: one per domain, and [`UNTAGGED`].
pub const TAGS: usize = Domain::COUNT + 1;

/// Subject of a document. Unless a config says otherwise, expert `e` belongs to the domain of index `e mod 10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs)]
pub enum Domain {
    Mathematics,
    Code,
    Physics,
    Business,
    Legal,
    Government,
    Biomedical,
    Logic,
    Creative,
    General,
}

/// A tag that is no domain's name or alias.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown domain `{found}`, expected one of: {}", Domain::names())]
pub struct UnknownDomain {
    /// The tag as written.
    pub found: String,
}

impl Domain {
    /// Number of domains.
    pub const COUNT: usize = 10;

    /// All domains, in index order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Mathematics,
        Self::Code,
        Self::Physics,
        Self::Business,
        Self::Legal,
        Self::Government,
        Self::Biomedical,
        Self::Logic,
        Self::Creative,
        Self::General,
    ];

    /// Position in [`Domain::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The domain at `index`, if there is one.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// Tag of a token by the domain of its document: the domain's index, or [`UNTAGGED`].
    /// [`from_index`](Self::from_index) is the inverse.
    pub fn tag(domain: Option<Self>) -> u8 {
        domain.map_or(UNTAGGED, |domain| domain as u8)
    }

    /// Canonical name, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mathematics => "mathematics",
            Self::Code => "code",
            Self::Physics => "physics",
            Self::Business => "business",
            Self::Legal => "legal",
            Self::Government => "government",
            Self::Biomedical => "biomedical",
            Self::Logic => "logic",
            Self::Creative => "creative",
            Self::General => "general",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Domain {
    type Err = UnknownDomain;

    /// Parses a name or an alias, ignoring case.
    fn from_str(tag: &str) -> Result<Self, UnknownDomain> {
        Ok(match tag.trim().to_ascii_lowercase().as_str() {
            "mathematics" | "math" | "maths" => Self::Mathematics,
            "code" | "programming" | "software" => Self::Code,
            "physics" => Self::Physics,
            "business" | "finance" | "economics" => Self::Business,
            "legal" | "law" => Self::Legal,
            "government" | "govt" | "gov" => Self::Government,
            "biomedical" | "bio" | "biology" | "medical" | "medicine" => Self::Biomedical,
            "logic" => Self::Logic,
            "creative" | "fiction" => Self::Creative,
            "general" => Self::General,
            _ => return Err(UnknownDomain { found: tag.into() }),
        })
    }
}

impl TryFrom<String> for Domain {
    type Error = UnknownDomain;

    fn try_from(tag: String) -> Result<Self, UnknownDomain> {
        tag.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.name().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_is_found_by_its_name_and_index() {
        for (index, domain) in Domain::ALL.into_iter().enumerate() {
            assert_eq!(domain.index(), index);
            assert_eq!(Domain::from_index(index), Some(domain));
            assert_eq!(domain.name().parse(), Ok(domain));
        }
        assert_eq!(Domain::from_index(Domain::COUNT), None);
    }

    #[test]
    fn aliases_are_accepted_in_any_case() {
        assert_eq!("Math".parse(), Ok(Domain::Mathematics));
        assert_eq!("law".parse(), Ok(Domain::Legal));
        assert_eq!("GOVT".parse(), Ok(Domain::Government));
    }

    #[test]
    fn an_unknown_tag_lists_the_valid_ones() {
        let error = "astrology".parse::<Domain>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown domain `astrology`, expected one of: mathematics, code")
        );
    }
}
