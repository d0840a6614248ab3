//! The endless stream of training batches, a function of corpus, configuration and position.
//!
//! The domain of the [`Mix`] that is furthest behind its share provides the next document, in the random order of its
//! epoch, so every stretch of the stream keeps the shares. Whether a document's tag is dropped is drawn from its
//! number in its domain. A [`Position`] of a few numbers therefore suffices to resume exactly.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::error::DataError;
use super::mix::{Mix, Pool};
use super::packing::{PackedBatch, Packer, Sequence, Tags};
use super::position::{OpenDocument, Position};
use super::shuffle::{Permutation, draw_unit};
use crate::domain::Domain;

/// Random streams for the order of documents and for dropped tags.
const ORDER: u64 = 0;
const DROPOUT: u64 = 1 << 32;

/// Settings of a training stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamConfig {
    /// Tokens per row.
    pub seq_len: usize,
    /// Rows per batch.
    pub rows: usize,
    /// Shares of the domains.
    pub mix: Mix,
    /// Probability that a document's domain is hidden, drawn per document.
    pub domain_dropout: f64,
    /// Whether a domain that is not hidden is also a control token in the text, if the tokenizer has one.
    pub domain_token: bool,
    /// Seed of the order of documents and of the dropped tags.
    pub seed: u64,
}

impl StreamConfig {
    /// Natural proportions, with all domains told.
    pub fn new(rows: usize, seq_len: usize, seed: u64) -> Self {
        Self {
            seq_len,
            rows,
            mix: Mix::natural(),
            domain_dropout: 0.0,
            domain_token: true,
            seed,
        }
    }
}

/// A domain's share of the stream so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The domain.
    pub domain: Domain,
    /// Share of the tokens that the mix asks for.
    pub wanted: f64,
    /// Share of the tokens of all documents begun so far; 0 at the start.
    pub realized: f64,
    /// Number of passes over the domain's documents so far.
    pub epochs: f64,
}

/// Endless iterator over training batches.
#[derive(Debug)]
pub struct Stream {
    corpus: Arc<Corpus>,
    config: StreamConfig,
    pools: Vec<Pool>,
    position: Position,
    /// The document that [`Position`] calls open.
    sequence: Option<Sequence>,
}

impl Stream {
    /// Starts at `position`: [`Position::default`], or one saved by a stream with equal settings, whose batches may
    /// have had another shape.
    ///
    /// # Errors
    ///
    /// [`DataError::Setting`], [`DataError::TooSmall`] if all documents together do not fill a row,
    /// [`DataError::AbsentDomain`] or [`DataError::MixTooSmall`] for a mix that the corpus cannot provide,
    /// [`DataError::Position`] for a position of another corpus, mix or seed.
    pub fn new(
        corpus: Arc<Corpus>,
        config: StreamConfig,
        position: Position,
    ) -> Result<Self, DataError> {
        check_shape(config.rows, config.seq_len)?;
        if !(0.0..=1.0).contains(&config.domain_dropout) {
            return Err(DataError::Setting {
                field: "domain_dropout",
                value: config.domain_dropout.to_string(),
                expected: "0 to 1",
            });
        }
        let pools = config.mix.pools(&corpus)?;
        let tokens = pools.iter().map(|pool| pool.tokens).sum();
        if tokens < config.seq_len as u64 {
            return Err(DataError::TooSmall {
                tokens,
                seq_len: config.seq_len,
            });
        }
        let position = position.resume(&fingerprint(&corpus, &config), pools.len())?;
        Ok(Self {
            corpus,
            config,
            pools,
            position,
            sequence: None,
        })
    }

    /// The next batch, always full. After an error the position is unchanged.
    ///
    /// # Errors
    ///
    /// [`DataError::Cache`] or [`DataError::DamagedShard`] if the tokens cannot be read.
    pub fn next_batch(&mut self) -> Result<PackedBatch, DataError> {
        let before = self.position.clone();
        self.pack().inspect_err(|_| {
            self.position = before;
            self.sequence = None;
        })
    }

    /// Position of the next batch.
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// Settings of the stream.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Wanted and realized share of every domain that has documents.
    pub fn shares(&self) -> Vec<Share> {
        let begun: u64 = self.position.domain_tokens.iter().sum();
        let shares = self.pools.iter().zip(&self.position.pools);
        shares
            .map(|(pool, at)| Share {
                domain: pool.domain,
                wanted: pool.weight,
                realized: self.position.domain_tokens[pool.domain.index()] as f64
                    / begun.max(1) as f64,
                epochs: at.documents as f64 / pool.documents as f64,
            })
            .collect()
    }

    fn pack(&mut self) -> Result<PackedBatch, DataError> {
        let mut packer = Packer::new(self.config.rows, self.config.seq_len);
        while !packer.is_full() {
            let OpenDocument { pool, offset } = match self.position.open {
                Some(open) => open,
                None => self.begin_document()?,
            };
            let sequence = match self.sequence.take() {
                Some(sequence) => sequence,
                None => self.load(pool)?,
            };
            if offset > sequence.len() as u64 {
                return Err(DataError::Position {
                    reason: format!(
                        "it is at token {offset} of a document of {}",
                        sequence.len()
                    ),
                });
            }
            let rest = packer.push(&sequence, offset as usize);
            self.position.open = rest.map(|offset| OpenDocument {
                pool,
                offset: offset as u64,
            });
            self.sequence = rest.map(|_| sequence);
        }
        self.position.batches += 1;
        Ok(packer.finish())
    }

    /// Begins the next document of the pool that is furthest behind its share.
    fn begin_document(&mut self) -> Result<OpenDocument, DataError> {
        let progress =
            |index: &usize| self.position.pools[*index].tokens as f64 / self.pools[*index].weight;
        let pool = (0..self.pools.len())
            .min_by(|a, b| progress(a).total_cmp(&progress(b)))
            .unwrap_or(0);
        self.position.pools[pool].documents += 1;
        let sequence = self.load(pool)?;

        // an empty document counts as one token, otherwise its pool would stay behind forever
        let tokens = sequence.len().max(1) as u64;
        self.position.pools[pool].tokens += tokens;
        self.position.domain_tokens[sequence.domain()] += tokens;
        self.sequence = Some(sequence);
        Ok(OpenDocument { pool, offset: 0 })
    }

    /// Loads the last document begun in a pool.
    fn load(&self, index: usize) -> Result<Sequence, DataError> {
        let StreamConfig {
            seed,
            domain_dropout,
            domain_token,
            ..
        } = self.config;
        let pool = &self.pools[index];
        let number = self.position.pools[index].documents.saturating_sub(1);
        let (epoch, place) = (number / pool.documents, number % pool.documents);
        let order = Permutation::new(pool.documents, seed, ORDER + index as u64, epoch);
        let document = self.corpus.nth_of_domain(pool.domain, order.at(place))?;

        let is_dropped = draw_unit(seed, [DROPOUT, index as u64, number]) < domain_dropout;
        let tags = match (is_dropped, domain_token) {
            (true, _) => Tags::Dropped,
            (false, true) => Tags::GivenWithToken,
            (false, false) => Tags::Given,
        };
        Sequence::load(&self.corpus, document, tags)
    }
}

impl Iterator for Stream {
    type Item = Result<PackedBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_batch())
    }
}

/// Digest of everything that the order of documents and their tags depend on.
fn fingerprint(corpus: &Corpus, config: &StreamConfig) -> String {
    let StreamConfig {
        mix,
        domain_dropout,
        domain_token,
        seed,
        ..
    } = config;
    let digest = corpus.digest();
    let text = format!("{digest} {mix} {domain_dropout} {domain_token} {seed}");
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

pub(super) fn check_shape(rows: usize, seq_len: usize) -> Result<(), DataError> {
    for (field, value, min, expected) in [
        ("rows", rows, 1, "at least 1"),
        ("seq_len", seq_len, 2, "at least 2"),
    ] {
        if value < min {
            return Err(DataError::Setting {
                field,
                value: value.to_string(),
                expected,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::testing::{corpus, mixed_corpus};
    use super::*;
    use crate::domain::UNTAGGED;

    fn config(mix: &str) -> StreamConfig {
        StreamConfig {
            seq_len: 16,
            rows: 3,
            mix: mix.parse().unwrap(),
            domain_dropout: 0.3,
            domain_token: true,
            seed: 1,
        }
    }

    fn stream(corpus: &Arc<Corpus>, config: StreamConfig) -> Stream {
        Stream::new(corpus.clone(), config, Position::default()).unwrap()
    }

    fn batches(stream: &mut Stream, count: usize) -> Vec<PackedBatch> {
        stream.take(count).map(Result::unwrap).collect()
    }

    #[test]
    fn going_on_from_a_saved_position_is_exact() {
        let corpus = mixed_corpus(40, 60);
        for mix in ["natural", "code=0.5,math=0.2"] {
            let whole = batches(&mut stream(&corpus, config(mix)), 60);
            for cut in [0, 1, 7, 30] {
                let mut first = stream(&corpus, config(mix));
                let mut parts = batches(&mut first, cut);
                let saved = serde_json::to_string(&first.position()).unwrap();
                let position: Position = serde_json::from_str(&saved).unwrap();
                assert_eq!(position.batches(), cut as u64);
                let mut second = Stream::new(corpus.clone(), config(mix), position).unwrap();
                parts.extend(batches(&mut second, 60 - cut));
                assert!(parts == whole, "{mix} {cut}");
            }
        }
    }

    #[test]
    fn every_epoch_has_every_document_once_in_another_order() {
        let corpus = mixed_corpus(30, 1);
        let mut config = config("natural");
        (config.rows, config.domain_token) = (1, false);
        // every document is `bos a eos`, so thirty fill a row
        config.seq_len = 90;
        let mut orders = HashSet::new();
        for batch in batches(&mut stream(&corpus, config.clone()), 5) {
            let mut documents = batch.documents.concat();
            orders.insert(documents.clone());
            documents.sort_unstable();
            assert!(documents.into_iter().eq(0..30));
        }
        assert_eq!(orders.len(), 5);
        config.seed = 2;
        let other = batches(&mut stream(&corpus, config), 1);
        assert!(!orders.contains(&other[0].documents.concat()));
    }

    #[test]
    fn rows_are_full_and_say_what_they_hold() {
        let corpus = mixed_corpus(40, 60);
        for batch in batches(&mut stream(&corpus, config("natural")), 50) {
            assert!(batch.segments.iter().all(|&segment| segment >= 0));
            for at in 0..batch.ids.len() {
                let row = at / batch.seq_len;
                let document = batch.documents[row][batch.segments[at] as usize];
                let truth = corpus.document(document).unwrap();
                let stated = if truth.tagged {
                    truth.domain.index() as u8
                } else {
                    UNTAGGED
                };
                assert_eq!(batch.domains[at], stated);
                let is_told = batch.tags[at] != UNTAGGED;
                assert!(!is_told || (truth.tagged && batch.tags[at] == batch.domains[at]));
                let same_next =
                    (at + 1) % batch.seq_len != 0 && batch.segments[at + 1] == batch.segments[at];
                assert_eq!(batch.counted[at], same_next);
            }
        }
    }

    #[test]
    fn shares_follow_the_mix_and_are_reported() {
        let corpus = mixed_corpus(70, 60);
        let mut stream = stream(&corpus, config("code=0.5,math=0.2"));
        let all = batches(&mut stream, 2000);

        let mut tokens = [0.0; Domain::COUNT];
        for batch in &all {
            for &domain in &batch.domains {
                // a document without a domain counts as general
                let domain = usize::from(domain).min(Domain::General.index());
                tokens[domain] += 1.0 / (all.len() * batch.ids.len()) as f64;
            }
        }
        let shares = stream.shares();
        assert_eq!(shares.len(), 4);
        assert!((shares.iter().map(|share| share.wanted).sum::<f64>() - 1.0).abs() < 1e-9);
        for share in shares {
            let measured = tokens[share.domain.index()];
            assert!((share.wanted - share.realized).abs() < 0.02, "{share:?}");
            assert!(
                (share.wanted - measured).abs() < 0.03,
                "{share:?} {measured}"
            );
            assert!(share.epochs > 1.0);
        }
        assert!((tokens[Domain::Code.index()] - 0.5).abs() < 0.02);
    }

    #[test]
    fn tags_are_dropped_as_often_as_asked_together_with_the_control_token() {
        let corpus = mixed_corpus(50, 10);
        for (dropout, expected) in [(0.0, 0.0..1e-9), (0.3, 0.27..0.33), (1.0, 0.999..1.1)] {
            let mut config = config("code=1");
            config.domain_dropout = dropout;
            let (mut begun, mut dropped) = (0.0, 0.0);
            for batch in batches(&mut stream(&corpus, config), 1000) {
                for at in 0..batch.ids.len() - 1 {
                    if batch.ids[at] == 1 && batch.counted[at] {
                        let is_dropped = batch.tags[at] == UNTAGGED;
                        assert_eq!(batch.ids[at + 1] == 8, !is_dropped);
                        begun += 1.0;
                        dropped += f64::from(u8::from(is_dropped));
                    }
                }
            }
            assert!(
                expected.contains(&(dropped / begun)),
                "{dropout} {}",
                dropped / begun
            );
        }
    }

    #[test]
    fn the_shape_may_change_on_resume_but_not_the_seed() {
        let corpus = mixed_corpus(40, 60);
        let mut first = stream(&corpus, config("natural"));
        batches(&mut first, 5);
        let resume = |config| Stream::new(corpus.clone(), config, first.position());

        let mut longer = config("natural");
        longer.seq_len = 64;
        assert!(resume(longer).is_ok());
        let mut reseeded = config("natural");
        reseeded.seed = 9;
        let message = resume(reseeded).unwrap_err().to_string();
        assert!(message.contains("seed have changed"), "{message}");
    }

    #[test]
    fn too_little_data_and_senseless_settings_are_errors() {
        let tiny = corpus(&[("code", "ab"), ("math", "cd")]);
        let message = |config| {
            let stream = Stream::new(tiny.clone(), config, Position::default());
            stream.unwrap_err().to_string()
        };
        assert!(message(config("natural")).starts_with("the data has 8 tokens, a row takes 16"));
        let change = |change: fn(&mut StreamConfig)| {
            let mut config = config("natural");
            change(&mut config);
            message(config)
        };
        assert!(change(|config| config.rows = 0).contains("`rows` is 0"));
        assert!(change(|config| config.domain_dropout = 1.5).contains("`domain_dropout` is 1.5"));
        assert!(change(|config| config.domain_dropout = f64::NAN).contains("NaN, expected 0 to 1"));
    }
}
