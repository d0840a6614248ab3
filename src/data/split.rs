//! Documents that are held out of training for evaluation.
//!
//! The choice depends on hashes of the texts only: not on their order or their files, and hardly on other documents.
//! All copies of a text are on the same side.

use std::collections::HashSet;

use super::error::DataError;
use super::shards::{Entry, Totals};
use crate::domain::Domain;

/// Fewest documents in a domain for some of them to be held out.
const FEWEST_DOCUMENTS: u64 = 20;

/// Bits of a key, limited by the size of a shard's entry.
const KEY_BITS: u32 = 48;

/// The first 48 bits of a text's BLAKE3 hash.
pub(super) fn key(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    let [a, b, c, d, e, f, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The documents of a corpus that are held out.
#[derive(Debug, Default)]
pub(super) struct HeldOut {
    /// Document numbers, ascending.
    numbers: Vec<u64>,
    /// Ranks among the documents of each domain, ascending.
    ranks: [Vec<u64>; Domain::COUNT],
    /// Counts per domain.
    pub(super) totals: [Totals; Domain::COUNT],
}

/// Statistics of the keys in a domain, gathered before the choice.
#[derive(Debug, Clone, Copy)]
struct Keys {
    documents: u64,
    /// Number of documents whose key is below the limit.
    below: u64,
    /// The smallest key, and the number of documents with it.
    smallest: (u64, u64),
}

impl Keys {
    const NONE: Self = Self {
        documents: 0,
        below: 0,
        smallest: (u64::MAX, 0),
    };

    fn add(&mut self, key: u64, limit: u64) {
        self.documents += 1;
        self.below += u64::from(key < limit);
        let (smallest, copies) = self.smallest;
        if key < smallest {
            self.smallest = (key, 1);
        } else if key == smallest {
            self.smallest = (key, copies + 1);
        }
    }

    /// Documents with keys below the returned limit are held out.
    fn limit(&self, limit: u64) -> u64 {
        let (smallest, copies) = self.smallest;
        match self.below {
            _ if self.documents < FEWEST_DOCUMENTS => 0,
            // the share amounts to less than one document
            0 if copies * 2 <= self.documents => smallest + 1,
            below if below < self.documents => limit,
            // if all documents are copies of one text, holding it out would leave nothing to train on
            _ => 0,
        }
    }
}

impl HeldOut {
    /// Holds out about `share` of the documents of every domain, and at least one if the domain has enough.
    /// `each_entry` iterates over all documents with their numbers, in order.
    pub(super) fn choose(
        share: f64,
        each_entry: impl Fn(&mut dyn FnMut(u64, &Entry)) -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let limit = (share * (1u64 << KEY_BITS) as f64) as u64;
        let mut keys = [Keys::NONE; Domain::COUNT];
        each_entry(&mut |_, entry| {
            keys[entry.domain.index()].add(entry.key, limit);
        })?;
        let limits = keys.map(|keys| keys.limit(limit));
        let mut given = HashSet::new();
        each_entry(&mut |_, entry| {
            if entry.key < limits[entry.domain.index()] {
                given.insert(entry.key);
            }
        })?;
        let mut held = Self::default();
        let mut seen = [0; Domain::COUNT];
        each_entry(&mut |number, entry| {
            let domain = entry.domain.index();
            // including copies in domains that hold out none of their own
            if given.contains(&entry.key) {
                held.numbers.push(number);
                held.ranks[domain].push(seen[domain]);
                held.totals[domain].add(&Totals {
                    documents: 1,
                    tokens: entry.tokens.into(),
                    bytes: entry.bytes.into(),
                });
            }
            seen[domain] += 1;
        })?;
        Ok(held)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Digest of the held-out documents' numbers.
    pub(super) fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        for number in &self.numbers {
            hash.update(&number.to_le_bytes());
        }
        hash.finalize()
    }
}

/// One side of a split; its documents are numbered without gaps, in the order of the whole corpus.
#[derive(Debug)]
pub(super) enum Side {
    /// All documents.
    Whole,
    /// Documents that are not held out.
    Kept(std::sync::Arc<HeldOut>),
    /// Documents that are held out.
    Held(std::sync::Arc<HeldOut>),
}

impl Side {
    /// Number in the whole corpus of this side's document `number`.
    pub(super) fn whole_number(&self, number: u64) -> u64 {
        match self {
            Self::Whole => number,
            Self::Kept(held) => nth_absent(&held.numbers, number),
            Self::Held(held) => held.numbers[number as usize],
        }
    }

    /// Rank in the whole corpus's domain of the `k`-th document of the domain on this side.
    pub(super) fn whole_rank(&self, domain: Domain, k: u64) -> u64 {
        match self {
            Self::Whole => k,
            Self::Kept(held) => nth_absent(&held.ranks[domain.index()], k),
            Self::Held(held) => held.ranks[domain.index()][k as usize],
        }
    }

    /// Number on this side of the whole corpus's document `number`, which must be on this side.
    pub(super) fn own_number(&self, number: u64) -> u64 {
        match self {
            Self::Whole => number,
            Self::Kept(held) => number - before(&held.numbers, number),
            Self::Held(held) => before(&held.numbers, number),
        }
    }
}

/// Number of values in the ascending `held` that are below `number`.
fn before(held: &[u64], number: u64) -> u64 {
    held.partition_point(|&one| one < number) as u64
}

/// The `k`-th number that is not in the ascending `held`.
fn nth_absent(held: &[u64], k: u64) -> u64 {
    let (mut low, mut high) = (0, held.len());
    while low < high {
        let middle = low.midpoint(high);
        // number of absent values before `held[middle]`
        if held[middle] - middle as u64 <= k {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    k + low as u64
}

#[cfg(test)]
mod tests {
    use super::super::testing::corpus;
    use super::super::{Corpus, DocumentTokens};
    use super::*;
    use crate::tokenizer::Tokenizer;

    /// `count` documents of a domain, each with a text of its own.
    fn documents(domain: &str, count: usize) -> Vec<(String, String)> {
        let text = |number| format!("{domain} text number {number}");
        (0..count)
            .map(|number| (domain.to_owned(), text(number)))
            .collect()
    }

    fn split(documents: &[(String, String)], share: f64) -> (Corpus, Option<Corpus>) {
        let borrowed: Vec<_> = documents
            .iter()
            .map(|(domain, text)| (domain.as_str(), text.as_str()))
            .collect();
        let whole = std::sync::Arc::into_inner(corpus(&borrowed)).unwrap();
        whole.hold_out(share).unwrap()
    }

    fn texts(corpus: &Corpus) -> Vec<String> {
        let text = |document: DocumentTokens| Tokenizer::bytes().decode(&document.tokens);
        (0..corpus.len())
            .map(|number| text(corpus.document(number).unwrap()))
            .collect()
    }

    #[test]
    fn every_document_is_on_one_side_and_found_there_by_number_and_by_domain() {
        let mut all = documents("code", 300);
        all.extend(documents("law", 200));
        let (train, valid) = split(&all, 0.1);
        let valid = valid.unwrap();

        let mut both = texts(&train);
        let held = texts(&valid);
        assert!((20..90).contains(&held.len()), "{}", held.len());
        assert!(held.iter().all(|text| !both.contains(text)));
        both.extend(held);
        both.sort();
        let mut expected: Vec<_> = all.into_iter().map(|(_, text)| text).collect();
        expected.sort();
        assert_eq!(both, expected);

        for side in [&train, &valid] {
            let mut numbers = Vec::new();
            for domain in [Domain::Code, Domain::Legal] {
                let totals = side.by_domain(domain);
                for k in 0..totals.documents {
                    let number = side.nth_of_domain(domain, k).unwrap();
                    assert_eq!(side.document(number).unwrap().domain, domain);
                    numbers.push(number);
                }
            }
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..side.len()));
            let tokens: usize = texts(side).iter().map(String::len).sum();
            assert_eq!(side.total().tokens, tokens as u64);
        }
        assert_ne!(train.digest(), valid.digest());
        assert_eq!(train.origin(0).unwrap().line, 1);
    }

    #[test]
    fn what_is_held_out_stays_so_when_documents_are_moved_or_added() {
        let mut all = documents("code", 400);
        let held = |all: &[_]| {
            let mut held = texts(&split(all, 0.05).1.unwrap());
            held.sort();
            held
        };
        let before = held(&all);
        all.reverse();
        assert_eq!(held(&all), before);
        all.splice(100..100, documents("law", 5));
        assert_eq!(held(&all), before);
        all.extend(documents("math", 100));
        let after = held(&all);
        assert!(after.len() > before.len() && before.iter().all(|text| after.contains(text)));
    }

    #[test]
    fn copies_of_a_text_are_on_one_side_whatever_their_domain() {
        let mut all = documents("code", 100);
        // copies in a domain too small to hold out any, and in the texts' own domain
        let copies: Vec<_> = all.iter().map(|(_, text)| text.clone()).collect();
        all.extend(copies[..19].iter().map(|text| ("law".into(), text.clone())));
        all.extend(copies.iter().map(|text| ("code".into(), text.clone())));
        let (train, valid) = split(&all, 0.3);
        let (train, valid) = (texts(&train), texts(&valid.unwrap()));
        assert!(valid.len() > 40);
        assert!(valid.iter().all(|text| !train.contains(text)));
    }

    #[test]
    fn a_small_domain_gives_none_and_the_next_larger_one_at_least_one() {
        for (count, expected) in [(1, 0), (19, 0), (20, 1)] {
            // a share so small that no document's key is below it
            let (train, valid) = split(&documents("code", count), 1e-9);
            let held = valid.map_or(0, |valid| valid.len());
            assert_eq!((train.len(), held), (count - expected, expected));
        }
    }

    #[test]
    fn a_domain_is_never_given_away_whole() {
        let copies = vec![("code".to_owned(), "one text".to_owned()); 30];
        for share in [1e-9, 0.5, 1.0] {
            let (train, valid) = split(&copies, share);
            assert_eq!((train.len(), valid.is_none()), (30, true), "{share}");
        }
    }

    #[test]
    fn nothing_held_out_is_the_corpus_that_it_was() {
        let all = documents("code", 10);
        let borrowed: Vec<_> = all.iter().map(|(d, t)| (d.as_str(), t.as_str())).collect();
        let digest = corpus(&borrowed).digest().to_owned();
        let (train, valid) = split(&all, 0.5);
        assert!(valid.is_none());
        assert_eq!(train.digest(), digest);
    }

    #[test]
    fn absent_numbers_are_counted_past_the_held_ones() {
        let held = [0, 3, 4, 9];
        let absent: Vec<_> = (0..6).map(|k| nth_absent(&held, k)).collect();
        assert_eq!(absent, [1, 2, 5, 6, 7, 8]);
        assert_eq!(nth_absent(&held, 6), 10);
        assert_eq!(nth_absent(&[], 5), 5);
    }
}
