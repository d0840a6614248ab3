//! What a run reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{DataError, Mix, SourceOptions};
use crate::domain::Domain;
use crate::tokenizer::chat::Day;

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Files or folders of training documents; empty: the embedded corpus.
    pub train: Vec<PathBuf>,
    /// Files or folders of validation documents; empty: the embedded ones with the embedded corpus,
    /// else a share of the training documents.
    pub valid: Vec<PathBuf>,
    /// Share of the training documents that is held out for validation where there is no other text for it; 0: none.
    /// Absent: [`VALID_SHARE`] in a new run, and none in a run that began before there was a share.
    pub valid_share: Option<f64>,
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
    /// Key (of JSON) or column (of parquet) of the text, which then goes before a conversation; absent: `text`.
    pub text_field: Option<String>,
    /// The day that a chat template which asks for it is told in the data; absent: that on which the run begins.
    pub day: Option<Day>,
}

/// Share of the training documents that is held out for validation, unless another is set.
pub const VALID_SHARE: f64 = 0.02;

impl DataConfig {
    /// Writes down what a new run holds out, if nothing is set.
    pub fn settle_valid_share(&mut self) {
        if !self.train.is_empty() && self.valid.is_empty() {
            self.valid_share.get_or_insert(VALID_SHARE);
        }
    }

    /// What to do with documents that are not as they should be.
    pub fn source_options(&self) -> SourceOptions {
        SourceOptions {
            skip_bad_lines: self.skip_bad_lines,
            unknown_domain: self.unknown_domain,
            text_field: self.text_field.clone(),
            day: self.day,
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
            valid_share: None,
            mix: BTreeMap::new(),
            domain_dropout: 0.3,
            domain_token: true,
            skip_bad_lines: false,
            unknown_domain: None,
            text_field: None,
            day: None,
        }
    }
}
