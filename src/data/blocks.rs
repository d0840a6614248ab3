//! Digests of a file's blocks, which are compared when the file is read.
//!
//! A block is compared on its first read, so that opening a file costs the same whatever its size.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::DataError;
use super::reader::Storage;

/// Bytes per block; each block has one digest.
const BLOCK: u64 = 64 << 10;
/// Size of a digest, in bytes.
pub(super) const DIGEST: usize = 16;

/// The first 16 bytes of the BLAKE3 hash of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    half(blake3::hash(bytes))
}

fn half(hash: blake3::Hash) -> [u8; DIGEST] {
    hash.as_bytes().as_chunks().0[0]
}

/// Size of the digests of a content of `bytes` bytes, in bytes.
pub(super) fn digests_len(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).saturating_mul(DIGEST as u64)
}

/// A writer that forwards to `out` and computes a digest of every block.
pub(super) struct Digesting<W> {
    out: W,
    block: blake3::Hasher,
    digests: Vec<u8>,
}

impl<W: Write> Digesting<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            block: blake3::Hasher::new(),
            digests: Vec::new(),
        }
    }

    fn end_block(&mut self) {
        self.digests.extend(half(self.block.finalize()));
        self.block.reset();
    }

    /// Writes the digests; later bytes have none.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.block.count() > 0 {
            self.end_block();
        }
        self.out.write_all(&self.digests)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (BLOCK - self.block.count()) as usize;
        let written = self.out.write(&bytes[..bytes.len().min(room)])?;
        self.block.update(&bytes[..written]);
        if self.block.count() == BLOCK {
            self.end_block();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The blocks at the start of a file, whose digests follow them.
#[derive(Debug)]
pub(super) struct Blocks {
    bytes: u64,
    /// One bit per block that was compared.
    sound: Vec<AtomicU64>,
}

impl Blocks {
    pub(super) fn new(bytes: u64) -> Self {
        let words = bytes.div_ceil(BLOCK).div_ceil(64);
        Self {
            bytes,
            sound: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Fills `buffer` with the bytes at `at`, after comparing their blocks with the digests.
    pub(super) fn read(
        &self,
        storage: &Storage,
        at: u64,
        buffer: &mut [u8],
    ) -> Result<(), DataError> {
        let end = at.saturating_add(buffer.len() as u64);
        if end > self.bytes {
            return Err(storage.damaged("something lies behind its end"));
        }
        for block in at / BLOCK..end.div_ceil(BLOCK) {
            self.compare(storage, block)?;
        }
        storage.read(at, buffer)
    }

    fn compare(&self, storage: &Storage, block: u64) -> Result<(), DataError> {
        let (word, bit) = (&self.sound[(block / 64) as usize], 1 << (block % 64));
        // a comparison by several threads at once does no harm
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let at = block * BLOCK;
        let mut bytes = vec![0; BLOCK.min(self.bytes - at) as usize];
        storage.read(at, &mut bytes)?;
        let mut expected = [0; DIGEST];
        storage.read(self.bytes + block * DIGEST as u64, &mut expected)?;
        if digest(&bytes) != expected {
            return Err(storage.damaged("its content has changed"));
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(length: u64) -> Vec<u8> {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut out = Digesting::new(Vec::new());
        for part in bytes.chunks(997) {
            out.write_all(part).unwrap();
        }
        let out = out.finish().unwrap();
        assert_eq!(out[..bytes.len()], bytes);
        assert_eq!(out.len() as u64, length + digests_len(length));
        out
    }

    #[test]
    fn what_is_read_is_what_was_written_or_an_error() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let whole = written(length);
            let read = |bytes: &[u8], at: u64, count: u64| {
                let mut buffer = vec![0; count as usize];
                Blocks::new(length)
                    .read(&Storage::Memory(bytes.to_vec()), at, &mut buffer)
                    .map(|()| buffer)
            };
            assert_eq!(read(&whole, 0, length).unwrap(), whole[..length as usize]);
            assert!(read(&whole, 1, length).is_err());
            // flips a bit in every block and in every digest
            for at in (0..whole.len()).step_by(BLOCK as usize / 2 + 5) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                assert!(read(&bytes, 0, length).is_err(), "{at} of {length}");
            }
        }
    }

    #[test]
    fn only_blocks_that_are_read_are_compared_and_each_once() {
        let mut bytes = written(3 * BLOCK);
        bytes[2 * BLOCK as usize] ^= 1;
        let blocks = Blocks::new(3 * BLOCK);
        let storage = Storage::Memory(bytes.clone());
        let mut buffer = [0; 2];
        blocks.read(&storage, BLOCK - 1, &mut buffer).unwrap();
        assert!(blocks.read(&storage, 2 * BLOCK - 1, &mut buffer).is_err());

        bytes[0] ^= 1;
        let storage = Storage::Memory(bytes);
        blocks.read(&storage, 0, &mut buffer).unwrap();
    }
}
