//! The data section of an experiment.

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
    /// Files or folders of validation documents; empty: the embedded ones if the embedded corpus is trained on, else
    /// a share of the training documents.
    pub valid: Vec<PathBuf>,
    /// Share of the training documents that is held out for validation if there is no other validation text; 0: none.
    /// Absent: [`VALID_SHARE`] in a new run, 0 in a run from before this setting existed.
    pub valid_share: Option<f64>,
    /// Share of the training tokens by domain; domains that are not named divide the rest.
    pub mix: BTreeMap<Domain, f64>,
    /// Probability that a document's domain is hidden from the router and from the text.
    pub domain_dropout: f64,
    /// Whether a document whose domain is not hidden begins with the domain's control token.
    pub domain_token: bool,
    /// Whether unreadable lines are counted and skipped; otherwise the first one ends the run.
    pub skip_bad_lines: bool,
    /// Domain of documents with an unknown tag; absent: such a tag ends the run.
    pub unknown_domain: Option<Domain>,
    /// Key (of JSON) or column (of parquet) of the text, which then takes precedence over a conversation in the same
    /// record; absent: `text`.
    pub text_field: Option<String>,
    /// Date that chat templates in the data see as today; absent: the day on which the run begins.
    pub day: Option<Day>,
}

/// Default share of the training documents that is held out for validation.
pub const VALID_SHARE: f64 = 0.02;

impl DataConfig {
    /// Sets `valid_share` to [`VALID_SHARE`] in a new run that states neither a share nor a validation text.
    pub fn settle_valid_share(&mut self) {
        if !self.train.is_empty() && self.valid.is_empty() {
            self.valid_share.get_or_insert(VALID_SHARE);
        }
    }

    /// How documents are read and what happens to invalid ones.
    pub fn source_options(&self) -> SourceOptions {
        SourceOptions {
            skip_bad_lines: self.skip_bad_lines,
            unknown_domain: self.unknown_domain,
            text_field: self.text_field.clone(),
            day: self.day,
        }
    }

    /// Shares of the domains, validated.
    ///
    /// # Errors
    ///
    /// Shares out of range, or whose sum exceeds 1.
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
