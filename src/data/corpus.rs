//! All documents of a source as tokens, accessed by number.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::cache::{self, Progress};
use super::documents::{Document, Origin, Skipped};
use super::error::DataError;
use super::mix::Mix;
use super::reader::{Shard, Storage, cache_error};
use super::shards::{Entry, Form, Identity, ShardWriter, Totals};
use super::source::{Source, SourceOptions};
use super::split::{HeldOut, Side};
use crate::domain::Domain;
use crate::tokenizer::Tokenizer;

/// Tokenized documents. The tokens stay on disk, so memory does not grow with their number.
#[derive(Debug)]
pub struct Corpus {
    shards: Arc<[RwLock<Arc<Shard>>]>,
    /// The source that damaged shards are rebuilt from; `None` in memory.
    origin: Option<Arc<ShardOrigin>>,
    side: Side,
    /// Number of the first document of every shard, then the total.
    starts: Vec<u64>,
    /// Starts of the shards among the documents of one domain, per domain.
    domain_starts: [Vec<u64>; Domain::COUNT],
    domains: [Totals; Domain::COUNT],
    general: General,
    digest: String,
    special: Special,
    token_bytes: Vec<u16>,
}

/// Which kinds of general documents the shards have.
#[derive(Debug, Clone, Copy)]
struct General {
    with_tag: bool,
    without_tag: bool,
}

/// Everything that is needed to rebuild a damaged shard.
#[derive(Debug)]
struct ShardOrigin {
    source: Source,
    tokenizer: Tokenizer,
    cache: PathBuf,
}

/// Properties of the tokenizer that packing needs.
#[derive(Debug, Clone)]
pub(super) struct Special {
    /// Ids before every document.
    pub(super) before: Vec<u32>,
    /// Ids after every document.
    pub(super) after: Vec<u32>,
    pub(super) domains: [Option<u32>; Domain::COUNT],
}

/// The tokens of one document, without the special tokens around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentTokens {
    /// Token ids, all below the size of the vocabulary.
    pub tokens: Vec<u32>,
    /// UTF-8 bytes of each token; their sum is `bytes`.
    pub token_bytes: Vec<u16>,
    /// Domain of the document; `General` if it has no tag.
    pub domain: Domain,
    /// Whether the document is tagged with a domain.
    pub tagged: bool,
    /// UTF-8 bytes of the text.
    pub bytes: u32,
    /// Whether each token is learned; absent: all are.
    pub learned: Option<Vec<bool>>,
    /// Whether no special tokens are put around the document because a chat template has written them already.
    pub stands_alone: bool,
}

impl Corpus {
    /// Tokenizes `source` into the folder `cache`, or reuses earlier shards if neither the tokenizer nor the files
    /// have changed. The folder may be deleted at any time between runs.
    ///
    /// # Errors
    ///
    /// The first bad document with its file and line, unless [`SourceOptions::skip_bad_lines`] is set; files that
    /// cannot be read or written; [`DataError::NoDocuments`].
    pub fn open(
        source: &Source,
        tokenizer: &Tokenizer,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, DataError> {
        let source = source.dated(tokenizer);
        let shards = cache::open_or_build(&source, tokenizer, cache, progress)?;
        let mut corpus = Self::new(shards, tokenizer);
        if corpus.is_empty() {
            return Err(source.without_documents());
        }
        corpus.origin = Some(Arc::new(ShardOrigin {
            source,
            tokenizer: tokenizer.clone(),
            cache: cache.into(),
        }));
        Ok(corpus)
    }

    /// Tokenizes documents into memory; meant for small data. Their origins keep their line numbers, but all get the
    /// file of the first document.
    ///
    /// # Errors
    ///
    /// The first error among `documents` or of the tokenizer.
    pub fn in_memory(
        documents: impl IntoIterator<Item = Result<Document, DataError>>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, DataError> {
        let mut documents = documents.into_iter().peekable();
        let file = match documents.peek() {
            Some(Ok(first)) => first.origin.file.to_string_lossy().into_owned(),
            _ => String::new(),
        };
        let identity = Identity {
            tokenizer: cache::digest(tokenizer),
            path: file,
            size: 0,
            modified_ns: 0,
            options: SourceOptions::default(),
        };
        let place = Path::new("in memory");
        let spool = Cursor::new(Vec::new());
        let mut writer = ShardWriter::new(Vec::new(), spool, identity, tokenizer.vocab_size())
            .map_err(cache_error(place))?;
        let options = SourceOptions::default();
        cache::tokenize(
            &mut documents,
            tokenizer,
            (&mut writer, place),
            &options,
            || {},
        )?;
        let bytes = writer
            .finish(Skipped::default())
            .map_err(cache_error(place))?;
        Ok(Self::new(
            vec![Shard::open(Storage::Memory(bytes))?],
            tokenizer,
        ))
    }

    fn new(shards: Vec<Shard>, tokenizer: &Tokenizer) -> Self {
        let mut domains = [Totals::default(); Domain::COUNT];
        let mut starts = vec![0];
        let mut domain_starts: [Vec<u64>; Domain::COUNT] = std::array::from_fn(|_| vec![0]);
        let mut untagged = 0;
        let mut hash = blake3::Hasher::new();
        for shard in &shards {
            for (domain, part) in shard.header.domains.iter().enumerate() {
                domains[domain].add(part);
                domain_starts[domain].push(domains[domain].documents);
            }
            starts.push(domains.iter().map(|total| total.documents).sum());
            untagged += shard.header.untagged;
            hash.update(shard.header.content.as_bytes());
        }
        Self {
            shards: shards
                .into_iter()
                .map(|shard| RwLock::new(Arc::new(shard)))
                .collect(),
            origin: None,
            side: Side::Whole,
            starts,
            domain_starts,
            general: General {
                with_tag: domains[Domain::General.index()].documents > untagged,
                without_tag: untagged > 0,
            },
            domains,
            digest: hash.finalize().to_hex().to_string(),
            special: Special {
                before: tokenizer.opening(None),
                after: tokenizer.closing(),
                domains: Domain::ALL.map(|domain| tokenizer.domain_token(domain)),
            },
            token_bytes: tokenizer.token_bytes(),
        }
    }

    /// Splits the corpus into documents to train on and about `share` of every domain to evaluate on, if there are
    /// enough. The split depends on the texts only.
    ///
    /// # Errors
    ///
    /// Those of [`Self::document`].
    pub fn hold_out(self, share: f64) -> Result<(Self, Option<Self>), DataError> {
        let held = HeldOut::choose(share, |each| self.each_entry(each))?;
        let held = Arc::new(held);
        if held.is_empty() {
            return Ok((self, None));
        }
        let mut kept = self.domains;
        for (kept, held) in kept.iter_mut().zip(&held.totals) {
            kept.subtract(held);
        }
        let train = self.part(Side::Kept(held.clone()), kept, ("kept", &held));
        let valid = self.part(Side::Held(held.clone()), held.totals, ("held", &held));
        Ok((train, Some(valid)))
    }

    fn part(
        &self,
        side: Side,
        domains: [Totals; Domain::COUNT],
        (name, held): (&str, &HeldOut),
    ) -> Self {
        let digest = format!("{} {name} {}", self.digest, held.digest());
        Self {
            shards: self.shards.clone(),
            origin: self.origin.clone(),
            side,
            starts: self.starts.clone(),
            domain_starts: self.domain_starts.clone(),
            domains,
            general: self.general,
            digest: blake3::hash(digest.as_bytes()).to_hex().to_string(),
            special: self.special.clone(),
            token_bytes: self.token_bytes.clone(),
        }
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.total().documents as usize
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts of all documents.
    pub fn total(&self) -> Totals {
        let mut total = Totals::default();
        self.domains.iter().for_each(|domain| total.add(domain));
        total
    }

    /// Counts of the documents of a domain; untagged documents count as general.
    pub fn by_domain(&self, domain: Domain) -> Totals {
        self.domains[domain.index()]
    }

    /// Domains with at least one document.
    pub fn domains(&self) -> impl Iterator<Item = Domain> {
        let has_documents = |domain: &Domain| self.by_domain(*domain).documents > 0;
        Domain::ALL.into_iter().filter(has_documents)
    }

    /// Tags of the documents: their domains, and `None` at the end if some documents are untagged.
    pub fn tags(&self) -> impl Iterator<Item = Option<Domain>> {
        let General {
            with_tag,
            without_tag,
        } = self.general;
        let stated = move |domain: &Domain| *domain != Domain::General || with_tag;
        let domains = self.domains().filter(stated).map(Some);
        let has_general = self.by_domain(Domain::General).documents > 0;
        domains.chain((has_general && without_tag).then_some(None))
    }

    /// Invalid documents that tokenization skipped.
    pub fn skipped(&self) -> Skipped {
        let mut all = Skipped::default();
        for index in 0..self.shards.len() {
            all.add(&self.shard(index).header.skipped);
        }
        all
    }

    /// Hash of all tokens and tags; it does not depend on the location of the files.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Size of the tokens' vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.token_bytes.len()
    }

    /// The tokens of document `number`.
    ///
    /// # Errors
    ///
    /// [`DataError::Cache`] or [`DataError::DamagedShard`] if the tokens cannot be read.
    ///
    /// # Panics
    ///
    /// If `number` is not below [`Self::len`].
    pub fn document(&self, number: usize) -> Result<DocumentTokens, DataError> {
        let (index, number) = self.place(number);
        let (entry, tokens, learned) = self.read(index, |shard| {
            let entry = shard.entry(number)?;
            let tokens = shard.tokens(&entry, self.vocab_size())?;
            Ok((entry, tokens, shard.learned(&entry)?))
        })?;
        let mut token_bytes: Vec<u16> = tokens
            .iter()
            .map(|&token| self.token_bytes[token as usize])
            .collect();
        correct(&mut token_bytes, entry.bytes);
        Ok(DocumentTokens {
            tokens,
            token_bytes,
            domain: entry.domain,
            tagged: entry.tagged,
            bytes: entry.bytes,
            learned,
            stands_alone: entry.form == Form::Alone,
        })
    }

    /// File and line of document `number`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::document`].
    ///
    /// # Panics
    ///
    /// If `number` is not below [`Self::len`].
    pub fn origin(&self, number: usize) -> Result<Origin, DataError> {
        let (index, number) = self.place(number);
        let entry = self.read(index, |shard| shard.entry(number))?;
        Ok(Origin {
            file: Arc::from(Path::new(&self.shard(index).header.identity.path)),
            line: entry.line,
        })
    }

    /// Number of the `k`-th document of a domain; `k` must be below the domain's count.
    pub(super) fn nth_of_domain(&self, domain: Domain, k: u64) -> Result<usize, DataError> {
        let k = self.side.whole_rank(domain, k);
        let (index, k) = locate(&self.domain_starts[domain.index()], k);
        let number = self.read(index, |shard| shard.nth_of_domain(domain, k))?;
        Ok(self.side.own_number(self.starts[index] + number) as usize)
    }

    /// Tokens of documents in rows, with the special tokens around each but without domain tokens.
    pub(super) fn packed_tokens(&self, totals: &Totals) -> u64 {
        let Special { before, after, .. } = &self.special;
        totals.tokens + totals.documents * (before.len() + after.len()) as u64
    }

    /// Tokens per epoch: those in rows of all documents that `mix` draws from.
    ///
    /// # Errors
    ///
    /// A mix of domains that the corpus does not have.
    pub fn tokens_of(&self, mix: &Mix) -> Result<u64, DataError> {
        Ok(mix.pools(self)?.iter().map(|pool| pool.tokens).sum())
    }

    pub(super) fn special(&self) -> &Special {
        &self.special
    }

    /// Index of the shard of document `number`, and the document's number in the shard.
    fn place(&self, number: usize) -> (usize, u64) {
        assert!(number < self.len(), "document {number} of {}", self.len());
        let number = self.side.whole_number(number as u64);
        locate(&self.starts, number)
    }

    fn shard(&self, index: usize) -> Arc<Shard> {
        let shard = self.shards[index].read();
        shard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls `each` for all documents of all shards with their numbers, in order.
    fn each_entry(&self, each: &mut dyn FnMut(u64, &Entry)) -> Result<(), DataError> {
        for (index, &start) in (0..self.shards.len()).zip(&self.starts) {
            let mut first = 0;
            loop {
                let entries = self.read(index, |shard| shard.entries(first))?;
                if entries.is_empty() {
                    break;
                }
                (start + first..)
                    .zip(&entries)
                    .for_each(|(number, entry)| each(number, entry));
                first += entries.len() as u64;
            }
        }
        Ok(())
    }

    /// Reads from a shard, which is rebuilt first if it turns out to be damaged.
    fn read<T>(
        &self,
        index: usize,
        read: impl Fn(&Shard) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let shard = self.shard(index);
        match (read(&shard), &self.origin) {
            (Err(error @ DataError::DamagedShard { .. }), Some(origin)) => {
                let mut place = self.shards[index]
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                // unless another thread has rebuilt it already
                if Arc::ptr_eq(&place, &shard) {
                    cache::tell_of_rebuilding(&error);
                    *place = Arc::new(origin.rebuilt(index, &shard)?);
                }
                read(&place)
            }
            (result, _) => result,
        }
    }
}

impl ShardOrigin {
    fn rebuilt(&self, index: usize, damaged: &Shard) -> Result<Shard, DataError> {
        let Self {
            source,
            tokenizer,
            cache,
        } = self;
        let shard = cache::rebuild(source, index, tokenizer, cache)?;
        if shard.header.content != damaged.header.content {
            return Err(DataError::ChangedSource {
                path: damaged.path().into(),
                source_path: PathBuf::from(&shard.header.identity.path),
            });
        }
        Ok(shard)
    }
}

/// The last shard that starts at or before `number`, and the number within it.
fn locate(starts: &[u64], number: u64) -> (usize, u64) {
    let index = starts.partition_point(|&start| start <= number) - 1;
    (index, number - starts[index])
}

/// Makes the tokens' bytes add up to `bytes`, by corrections from the last token on: a tokenizer that is not
/// byte-level may add or drop a space, or change letters.
fn correct(token_bytes: &mut [u16], bytes: u32) {
    let sum: i64 = token_bytes.iter().map(|&bytes| i64::from(bytes)).sum();
    let mut missing = i64::from(bytes) - sum;
    for slot in token_bytes.iter_mut().rev() {
        if missing == 0 {
            break;
        }
        let corrected = (i64::from(*slot) + missing).clamp(0, u16::MAX.into());
        missing -= corrected - i64::from(*slot);
        *slot = corrected as u16;
    }
}

#[cfg(test)]
mod tests;
