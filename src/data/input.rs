//! Reads files and decompresses them on the way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::error::DataError;

const BUFFER_BYTES: usize = 256 << 10;
/// Zstandard's largest window, 2 GiB, as `zstd --ultra --long=31` writes it. Memory of this size is used only for
/// files that declare and fill such a window.
const MAX_WINDOW_LOG: u32 = 31;
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

pub(super) type Input = Box<dyn BufRead + Send>;

/// Opens a file with all its gzip members or zstd frames, without its byte order mark. `bytes_read` counts the bytes
/// read from the disk.
pub(super) fn open(
    path: &Path,
    compression: Compression,
    bytes_read: Arc<AtomicU64>,
) -> Result<Input, DataError> {
    let file = File::open(path).map_err(|source| DataError::Open {
        path: path.to_path_buf(),
        source,
    })?;
    let raw = BufReader::with_capacity(BUFFER_BYTES, Counted { file, bytes_read });
    unpacked(raw, compression).map_err(|source| DataError::Read {
        path: path.to_path_buf(),
        line: 0,
        source,
    })
}

fn unpacked(raw: BufReader<Counted>, compression: Compression) -> io::Result<Input> {
    let buffered = |reader| BufReader::with_capacity(BUFFER_BYTES, reader);
    let input: Input = match compression {
        Compression::None => Box::new(raw),
        Compression::Gzip => {
            let reader: Box<dyn Read + Send> = Box::new(MultiGzDecoder::new(raw));
            Box::new(buffered(reader))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(buffered(Box::new(decoder)))
        }
    };
    unmarked(input)
}

/// Removes the byte order mark from the input, if it has one.
pub(super) fn unmarked(mut input: Input) -> io::Result<Input> {
    let mut start = Vec::new();
    (&mut input)
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    Ok(Box::new(Cursor::new(start).chain(input)))
}

struct Counted {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
