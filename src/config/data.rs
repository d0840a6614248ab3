//! What a run reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{DataError, Mix, SourceOptions};
use crate::domain::Domain;

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Files or folders of training documents; empty: the embedded corpus.
    pub train: Vec<PathBuf>,
    /// Files or folders of validation documents; empty: the embedded ones with the embedded corpus,
    /// else none.
    pub valid: Vec<PathBuf>,
    /// Share of a domain in the training tokens; domains not named share the rest.
    pub mix: BTreeMap<Domain, f64>,
    /// Probability that the router and the text are not told the domain of a document.
    pub domain_dropout: f64,
    /// Whether a told domain also stands before the document as a control token.
    pub domain_token: bool,
    /// Whether lines that cannot be read are counted and left out instead of ending the run.
    pub skip_bad_lines: bool,
    /// The domain of documents with an unknown tag; absent: such a tag ends the run.
    pub unknown_domain: Option<Domain>,
}

impl DataConfig {
    /// What to do with documents that are not as they should be.
    pub fn source_options(&self) -> SourceOptions {
        SourceOptions {
            skip_bad_lines: self.skip_bad_lines,
            unknown_domain: self.unknown_domain,
        }
    }

    /// Shares of the domains.
    ///
    /// # Errors
    ///
    /// Weights that are no shares.
    pub fn mix(&self) -> Result<Mix, DataError> {
        let weights: Vec<_> = self
            .mix
            .iter()
            .map(|(&domain, &weight)| (domain, weight))
            .collect();
        Mix::new(&weights)
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            valid: Vec::new(),
            mix: BTreeMap::new(),
            domain_dropout: 0.3,
            domain_token: true,
            skip_bad_lines: false,
            unknown_domain: None,
        }
    }
}
