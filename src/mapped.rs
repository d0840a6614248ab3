//! Memory-mapped files of which only the part being read stays in memory: files of weights may be larger than it.
//!
//! This module knows bytes, and no file format.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use memmap2::Mmap;

/// A memory-mapped file. It must not be written to while this value lives.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: Mmap,
    /// The range that was read last.
    last: Mutex<Range<usize>>,
}

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is read only, as untrusted bytes. No system can guarantee that another program does not
        // truncate the file in the meantime; every memory map depends on that.
        #[allow(
            unsafe_code,
            reason = "files of weights are larger than memory, and mapping is unsafe by its signature"
        )]
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self {
            map,
            last: Mutex::new(0..0),
        })
    }

    /// All bytes; meant for headers.
    pub(crate) fn all(&self) -> &[u8] {
        &self.map
    }

    /// The bytes of `range`, or `None` beyond the end of the file. The range that was read before is released from
    /// memory; it is read from the file again if it is used again.
    pub(crate) fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        let bytes = self.map.get(range.clone())?;
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        if *last != range {
            self.release(last.clone());
            *last = range;
        }
        Some(bytes)
    }

    #[cfg(unix)]
    fn release(&self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        // SAFETY: the pages belong to a file that is not written to, so they have the same content when read again
        #[allow(
            unsafe_code,
            reason = "for other maps than this one the advice loses what was written"
        )]
        let advised = unsafe {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            self.map
                .unchecked_advise_range(advice, range.start, range.len())
        };
        // if the advice is not taken, only memory is lost
        let _ = advised;
    }

    #[cfg(not(unix))]
    fn release(&self, _: Range<usize>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_file_however_often_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        let first = mapped.read(10..50_000).unwrap();
        assert_eq!(mapped.read(50_000..100_000), Some(&bytes[50_000..]));
        assert_eq!(first, &bytes[10..50_000]);
        assert_eq!(mapped.read(3..3), Some(&[][..]));
        assert_eq!(mapped.read(99_999..100_001), None);
        assert_eq!(mapped.all(), bytes);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_part_that_is_read_takes_memory() {
        const PART: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file of its own");
        std::fs::write(&path, vec![7; 32 * PART]).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        let mut sum = 0u64;
        for at in 0..32 {
            let part = mapped.read(at * PART..(at + 1) * PART).unwrap();
            sum += part.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        assert_eq!(sum, 7 * 32 * PART as u64);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (_, ours) = maps.split_once("a file of its own").unwrap();
        let line = ours.lines().find(|line| line.starts_with("Rss:")).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib << 10 < 4 * PART, "{line}");
    }
}
