//! Random access to shards.
//!
//! It uses positioned reads rather than a memory map: mapped pages count as the process's memory once touched, and a
//! file that shrinks under a map kills the process instead of returning an error. The operating system caches either
//! way.

use std::fs::File;
use std::io;
#[cfg(not(unix))]
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::blocks::{self, Blocks, DIGEST};
use super::error::DataError;
use super::shards::{ENTRY, Entry, Form, Header, MAGIC, Totals};
use crate::domain::Domain;

/// Size in bytes of what follows the header: its digest, its length and the magic number.
const TRAILER: u64 = DIGEST as u64 + 16;
const MAX_HEADER: u64 = 1 << 20;
/// Number of entries read at a time.
const ENTRIES: u64 = 4096;

/// A shard, open for reading.
#[derive(Debug)]
pub(super) struct Shard {
    storage: Storage,
    blocks: Blocks,
    pub(super) header: Header,
    documents: u64,
    entries_at: u64,
    numbers_at: u64,
}

/// Location of a shard's bytes.
#[derive(Debug)]
pub(super) enum Storage {
    Memory(Vec<u8>),
    Open(File, PathBuf),
    /// Opened for every read, since the corpus has more shards than a process may keep open.
    Closed(PathBuf),
}

impl Storage {
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), DataError> {
        match self {
            Self::Memory(bytes) => {
                let found = usize::try_from(at)
                    .ok()
                    .and_then(|at| bytes.get(at..)?.get(..buffer.len()));
                buffer.copy_from_slice(found.ok_or_else(|| self.damaged("it is too short"))?);
                Ok(())
            }
            Self::Open(file, path) => read_at(file, at, buffer).map_err(cache_error(path)),
            Self::Closed(path) => File::open(path)
                .and_then(|file| read_at(&file, at, buffer))
                .map_err(cache_error(path)),
        }
    }

    fn length(&self) -> Result<u64, DataError> {
        Ok(match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Open(_, path) | Self::Closed(path) => {
                path.metadata().map_err(cache_error(path))?.len()
            }
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Memory(_) => Path::new("in memory"),
            Self::Open(_, path) | Self::Closed(path) => path,
        }
    }

    pub(super) fn damaged(&self, reason: &'static str) -> DataError {
        DataError::DamagedShard {
            path: self.path().into(),
            reason,
        }
    }
}

impl Shard {
    /// Reads the header and checks its digest; other content is checked when it is read.
    pub(super) fn open(storage: Storage) -> Result<Self, DataError> {
        let damaged = |reason| storage.damaged(reason);
        let length = storage.length()?;
        let trailer_at = length
            .checked_sub(TRAILER)
            .ok_or_else(|| damaged("it is too short"))?;
        let mut magic = [0; 8];
        storage.read(length - 8, &mut magic)?;
        if magic != MAGIC {
            return Err(if magic[..7] == MAGIC[..7] {
                DataError::OtherShard {
                    path: storage.path().into(),
                }
            } else {
                damaged("its end is missing")
            });
        }
        let mut size = [0; 8];
        storage.read(length - 16, &mut size)?;
        let size = u64::from_le_bytes(size);
        let header_at = trailer_at
            .checked_sub(size)
            .filter(|_| size <= MAX_HEADER)
            .ok_or_else(|| damaged("its header has no place"))?;
        let mut header = vec![0; size as usize];
        storage.read(header_at, &mut header)?;
        let mut digest = [0; DIGEST];
        storage.read(trailer_at, &mut digest)?;
        if blocks::digest(&header) != digest {
            return Err(damaged("its header has changed"));
        }
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| damaged("its header is broken"))?;

        let Totals { documents, .. } = header.total();
        let units = header.units.saturating_mul(header.width);
        let entries_at = units.saturating_add(MAGIC.len() as u64);
        let numbers_at = entries_at.saturating_add(documents.saturating_mul(ENTRY as u64));
        let end = numbers_at.saturating_add(documents.saturating_mul(4));
        let fits = end.saturating_add(blocks::digests_len(end)) == header_at;
        if !fits || !matches!(header.width, 2 | 4) {
            return Err(damaged("its size is wrong"));
        }
        Ok(Self {
            storage,
            blocks: Blocks::new(end),
            header,
            documents,
            entries_at,
            numbers_at,
        })
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), DataError> {
        self.blocks.read(&self.storage, at, buffer)
    }

    pub(super) fn path(&self) -> &Path {
        self.storage.path()
    }

    /// The entry of document `number`, which must be below the number of documents.
    pub(super) fn entry(&self, number: u64) -> Result<Entry, DataError> {
        let mut bytes = [0; ENTRY];
        let at = self.entries_at + number * ENTRY as u64;
        self.read(at, &mut bytes)?;
        Entry::from_bytes(&bytes)
            .filter(|entry| {
                let count = u64::from(entry.tokens);
                let end = entry
                    .first
                    .saturating_add(count + entry.form.units(count, self.header.width));
                end.saturating_mul(self.header.width) <= self.entries_at - MAGIC.len() as u64
            })
            .ok_or_else(|| self.storage.damaged("an entry is broken"))
    }

    /// Up to 4096 entries from document `first` on; empty after the last one.
    pub(super) fn entries(&self, first: u64) -> Result<Vec<Entry>, DataError> {
        let count = self.documents.saturating_sub(first).min(ENTRIES);
        let mut bytes = vec![0; count as usize * ENTRY];
        self.read(self.entries_at + first * ENTRY as u64, &mut bytes)?;
        let (entries, _) = bytes.as_chunks();
        let entries = entries.iter().map(|entry| {
            let entry = Entry::from_bytes(entry);
            entry.ok_or_else(|| self.storage.damaged("an entry is broken"))
        });
        entries.collect()
    }

    /// Whether each token of a conversation is learned; `None` for plain text, which is learned whole.
    pub(super) fn learned(&self, entry: &Entry) -> Result<Option<Vec<bool>>, DataError> {
        let (width, count) = (self.header.width, u64::from(entry.tokens));
        if entry.form == Form::Text {
            return Ok(None);
        }
        let mut bits = vec![0; (entry.form.units(count, width) * width) as usize];
        self.read(
            MAGIC.len() as u64 + (entry.first + count) * width,
            &mut bits,
        )?;
        let all = bits
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        Ok(Some(all.take(count as usize).collect()))
    }

    /// The token ids of a document, all below `vocab_size`.
    pub(super) fn tokens(&self, entry: &Entry, vocab_size: usize) -> Result<Vec<u32>, DataError> {
        let width = self.header.width;
        let mut bytes = vec![0; entry.tokens as usize * width as usize];
        self.read(MAGIC.len() as u64 + entry.first * width, &mut bytes)?;
        let tokens: Vec<u32> = if width == 2 {
            let (pairs, _) = bytes.as_chunks();
            pairs
                .iter()
                .map(|&pair| u16::from_le_bytes(pair).into())
                .collect()
        } else {
            let (quads, _) = bytes.as_chunks();
            quads.iter().map(|&quad| u32::from_le_bytes(quad)).collect()
        };
        if tokens.iter().any(|&token| token as usize >= vocab_size) {
            return Err(self.storage.damaged("a token is outside of the vocabulary"));
        }
        Ok(tokens)
    }

    /// Number of the `k`-th document of a domain.
    pub(super) fn nth_of_domain(&self, domain: Domain, k: u64) -> Result<u64, DataError> {
        let before: u64 = self.header.domains[..domain.index()]
            .iter()
            .map(|totals| totals.documents)
            .sum();
        let mut bytes = [0; 4];
        self.read(self.numbers_at + (before + k) * 4, &mut bytes)?;
        let number = u64::from(u32::from_le_bytes(bytes));
        if number >= self.documents {
            return Err(self.storage.damaged("a document number is too large"));
        }
        Ok(number)
    }
}

pub(super) fn cache_error(path: &Path) -> impl Fn(io::Error) -> DataError {
    move |source| DataError::Cache {
        path: path.into(),
        source,
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    // the file position is shared between threads
    static SEEKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = SEEKING.lock();
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::documents::Skipped;
    use super::super::shards::{Identity, ShardWriter, Tokens};
    use super::super::source::SourceOptions;
    use super::*;

    fn shard_bytes(vocab_size: usize) -> Vec<u8> {
        let identity = Identity {
            tokenizer: "t".into(),
            path: "p".into(),
            size: 1,
            modified_ns: 2,
            options: SourceOptions::default(),
        };
        let spool = Cursor::new(Vec::new());
        let mut writer = ShardWriter::new(Vec::new(), spool, identity, vocab_size).unwrap();
        let code = Some(Domain::Code);
        let turns = Tokens {
            ids: &[1, 2, 3],
            form: Form::Conversation,
            learned: &[false, true, true],
        };
        writer.push(turns, 9, 1, code, 7).unwrap();
        let nothing = Tokens::from(&[][..]);
        writer.push(nothing, 1, 3, None, (1 << 48) - 1).unwrap();
        let last = [vocab_size as u32 - 1];
        writer.push(Tokens::from(&last[..]), 4, 4, code, 0).unwrap();
        writer.finish(Skipped::default()).unwrap()
    }

    fn read_all(bytes: Vec<u8>, vocab_size: usize) -> Result<Vec<Vec<u32>>, DataError> {
        let shard = Shard::open(Storage::Memory(bytes))?;
        for domain in Domain::ALL {
            for k in 0..shard.header.domains[domain.index()].documents {
                shard.nth_of_domain(domain, k)?;
            }
        }
        (0..shard.header.total().documents)
            .map(|number| shard.tokens(&shard.entry(number)?, vocab_size))
            .collect()
    }

    #[test]
    fn tokens_and_tags_come_back_in_both_widths() {
        for vocab_size in [100, 1 << 16, (1 << 16) + 1] {
            let bytes = shard_bytes(vocab_size);
            let last = vocab_size as u32 - 1;
            assert_eq!(
                read_all(bytes.clone(), vocab_size).unwrap(),
                [vec![1, 2, 3], vec![], vec![last]]
            );

            let shard = Shard::open(Storage::Memory(bytes)).unwrap();
            assert_eq!(shard.nth_of_domain(Domain::Code, 1).unwrap(), 2);
            assert_eq!(shard.nth_of_domain(Domain::General, 0).unwrap(), 1);
            let learned = |number| shard.learned(&shard.entry(number).unwrap()).unwrap();
            assert_eq!(learned(0), Some(vec![false, true, true]));
            assert_eq!(learned(2), None);
            let entry = shard.entry(1).unwrap();
            assert_eq!((entry.line, entry.bytes, entry.tagged), (3, 1, false));
            assert_eq!(shard.header.total().bytes, 14);
            let keys: Vec<_> = shard.entries(0).unwrap().iter().map(|it| it.key).collect();
            assert_eq!(keys, [7, (1 << 48) - 1, 0]);
            assert_eq!(shard.entries(3).unwrap().len(), 0);
        }
    }

    #[test]
    fn a_cut_shard_is_an_error() {
        let bytes = shard_bytes(100);
        for length in 0..bytes.len() {
            assert!(
                Shard::open(Storage::Memory(bytes[..length].to_vec())).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_an_error() {
        let bytes = shard_bytes(100);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                assert!(read_all(bytes, 100).is_err(), "byte {at}");
            }
        }
    }
}
