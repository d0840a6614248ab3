//! Shards: the tokens of one source file on disk, written once and read at random.
//!
//! ```text
//! magic | tokens (u16 or u32), after those of a conversation a bit per token: learned or not
//!       | entry per document (32 bytes) | document numbers by domain (u32)
//!       | digest per block of all before (16 bytes)
//!       | header (JSON) | digest of the header (16 bytes) | length of the header (u64) | magic
//! ```
//! All numbers are little-endian. `reader` reads shards, `blocks` has the digests.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::blocks::{self, Digesting};
use super::documents::Skipped;
use super::source::SourceOptions;
use crate::domain::Domain;

pub(super) const MAGIC: [u8; 8] = *b"DHSHARD3";
pub(super) const ENTRY: usize = 32;

/// Everything that a shard depends on; a shard with another identity is stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// [`Tokenizer::digest`](crate::tokenizer::Tokenizer::digest).
    pub(super) tokenizer: String,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) modified_ns: u64,
    pub(super) options: SourceOptions,
}

/// Counts of a set of documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Number of documents.
    pub documents: u64,
    /// Number of tokens, special tokens around the documents excluded.
    pub tokens: u64,
    /// UTF-8 bytes of their texts.
    pub bytes: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.documents -= other.documents;
        self.tokens -= other.tokens;
        self.bytes -= other.bytes;
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) identity: Identity,
    /// Bytes per token on disk.
    pub(super) width: u64,
    /// Number of units of `width` bytes before the entries: tokens, and conversations' bits.
    pub(super) units: u64,
    pub(super) domains: [Totals; Domain::COUNT],
    /// Number of general documents without a tag.
    #[serde(default)]
    pub(super) untagged: u64,
    pub(super) skipped: Skipped,
    /// BLAKE3 of tokens and entries; it does not depend on the location of the files.
    pub(super) content: String,
}

impl Header {
    pub(super) fn total(&self) -> Totals {
        let mut total = Totals::default();
        self.domains.iter().for_each(|domain| total.add(domain));
        total
    }
}

/// Position and properties of a document's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) first: u64,
    pub(super) line: u64,
    pub(super) tokens: u32,
    pub(super) bytes: u32,
    pub(super) domain: Domain,
    pub(super) tagged: bool,
    pub(super) form: Form,
    /// The text's [`split::key`](super::split::key).
    pub(super) key: u64,
}

/// Kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Plain text; all tokens are learned.
    Text,
    /// A conversation, with one bit per token that tells whether it is learned.
    Conversation,
    /// A conversation with such bits and without special tokens around it.
    Alone,
}

impl Form {
    const ALL: [Self; 3] = [Self::Text, Self::Conversation, Self::Alone];

    /// Number of units after the tokens that hold their bits.
    pub(super) fn units(self, tokens: u64, width: u64) -> u64 {
        match self {
            Self::Text => 0,
            Self::Conversation | Self::Alone => tokens.div_ceil(8 * width),
        }
    }
}

/// The tokens of a document to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) ids: &'a [u32],
    pub(super) form: Form,
    /// Whether each token of a conversation is learned; otherwise empty.
    pub(super) learned: &'a [bool],
}

impl<'a> From<&'a [u32]> for Tokens<'a> {
    /// Tokens of a plain text.
    fn from(ids: &'a [u32]) -> Self {
        Self {
            ids,
            form: Form::Text,
            learned: &[],
        }
    }
}

/// Offset of the key in an entry; the key reaches to the entry's end.
const KEY: usize = 26;

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[0..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.line.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24] = self.domain.index() as u8;
        bytes[25] = u8::from(self.tagged) | (self.form as u8) << 1;
        bytes[KEY..].copy_from_slice(&self.key.to_le_bytes()[..ENTRY - KEY]);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ENTRY]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        let [i, j, k, l, m, n, o, p, rest @ ..] = rest;
        let [q, r, s, t, u, v, w, x, domain, flags, key @ ..] = rest;
        let [key_a, key_b, key_c, key_d, key_e, key_f] = key;
        Some(Self {
            first: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            line: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            tokens: u32::from_le_bytes([q, r, s, t]),
            bytes: u32::from_le_bytes([u, v, w, x]),
            domain: Domain::from_index(domain.into())?,
            tagged: flags & 1 != 0,
            form: *Form::ALL.get(usize::from(flags >> 1))?,
            key: u64::from_le_bytes([key_a, key_b, key_c, key_d, key_e, key_f, 0, 0]),
        })
    }
}

/// Writes a shard to `out` and keeps entries in `spool` until the end, so that memory stays bounded.
pub(super) struct ShardWriter<W: Write, S: Write> {
    out: Digesting<W>,
    spool: BufWriter<S>,
    identity: Identity,
    width: u64,
    domains: [Totals; Domain::COUNT],
    untagged: u64,
    hash: blake3::Hasher,
    units: u64,
    buffer: Vec<u8>,
}

impl<W: Write, S: Read + Write + Seek> ShardWriter<W, S> {
    pub(super) fn new(out: W, spool: S, identity: Identity, vocab_size: usize) -> io::Result<Self> {
        let mut out = Digesting::new(out);
        out.write_all(&MAGIC)?;
        Ok(Self {
            out,
            spool: BufWriter::new(spool),
            identity,
            width: if vocab_size <= 1 << 16 { 2 } else { 4 },
            domains: Default::default(),
            untagged: 0,
            hash: blake3::Hasher::new(),
            units: 0,
            buffer: Vec::new(),
        })
    }

    pub(super) fn documents(&self) -> u64 {
        self.domains.iter().map(|totals| totals.documents).sum()
    }

    pub(super) fn push(
        &mut self,
        tokens: Tokens<'_>,
        bytes: u32,
        line: u64,
        tag: Option<Domain>,
        key: u64,
    ) -> io::Result<()> {
        let entry = Entry {
            first: self.units,
            line,
            tokens: tokens.ids.len() as u32,
            bytes,
            domain: tag.unwrap_or(Domain::General),
            tagged: tag.is_some(),
            form: tokens.form,
            key,
        };
        self.buffer.clear();
        let width = self.width as usize;
        for token in tokens.ids {
            self.buffer.extend_from_slice(&token.to_le_bytes()[..width]);
        }
        let count = u64::from(entry.tokens);
        let units = count + entry.form.units(count, self.width);
        for learned in tokens.learned.chunks(8) {
            let bits = learned
                .iter()
                .rev()
                .fold(0, |bits, &bit| bits << 1 | u8::from(bit));
            self.buffer.push(bits);
        }
        self.buffer.resize(units as usize * width, 0);
        self.out.write_all(&self.buffer)?;
        self.spool.write_all(&entry.to_bytes())?;
        self.hash.update(&self.buffer);
        // without the key, which follows from the text, so that hashes of older versions stay equal
        self.hash.update(&Entry { key: 0, ..entry }.to_bytes());

        self.units += units;
        self.untagged += u64::from(tag.is_none());
        self.domains[entry.domain.index()].add(&Totals {
            documents: 1,
            tokens: entry.tokens.into(),
            bytes: bytes.into(),
        });
        Ok(())
    }

    pub(super) fn finish(mut self, skipped: Skipped) -> io::Result<W> {
        let documents = self.documents() as u32;
        let mut spool = self
            .spool
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        spool.seek(SeekFrom::Start(0))?;
        io::copy(&mut spool, &mut self.out)?;

        // document numbers by domain
        for (domain, totals) in self.domains.iter().enumerate() {
            if totals.documents == 0 {
                continue;
            }
            spool.seek(SeekFrom::Start(0))?;
            let mut entries = BufReader::with_capacity(ENTRY * 4096, &mut spool);
            for number in 0..documents {
                let mut entry = [0; ENTRY];
                entries.read_exact(&mut entry)?;
                if usize::from(entry[24]) == domain {
                    self.out.write_all(&number.to_le_bytes())?;
                }
            }
        }

        let header = Header {
            identity: self.identity,
            width: self.width,
            units: self.units,
            domains: self.domains,
            untagged: self.untagged,
            skipped,
            content: self.hash.finalize().to_hex().to_string(),
        };
        let header = serde_json::to_vec(&header)?;
        let mut out = self.out.finish()?;
        out.write_all(&header)?;
        out.write_all(&blocks::digest(&header))?;
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&MAGIC)?;
        out.flush()?;
        Ok(out)
    }
}
