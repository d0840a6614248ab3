//! Bounds-checked reading of a GGUF header from untrusted bytes.

/// Content that was found, and content that was expected. The reader adds the path.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) found: String,
    pub(super) expected: String,
}

impl Fault {
    pub(super) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// A position in the bytes of a file. Nothing is read or allocated before the bytes are known to exist.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Current byte offset in the file.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Checks that `count` items of at least `size` bytes each can follow.
    pub(super) fn expect(&self, count: u64, size: u64) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.position) as u64;
        match count.checked_mul(size) {
            Some(needed) if needed <= left => Ok(()),
            _ => Err(Fault::new(
                format!(
                    "{count} items of {size} or more bytes at byte {} with {left} bytes left",
                    self.position
                ),
                "a file that holds them",
            )),
        }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        self.expect(count, 1)?;
        // Not more than the bytes that are left, so it fits `usize`.
        let end = self.position + count as usize;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Fault> {
        let at = self.position;
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Fault::new(format!("bool {other} at byte {at}"), "0 or 1")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Fault> {
        let at = self.position;
        let length = self.u64()?;
        let bytes = self.take(length)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Fault::new(
                format!("a text at byte {at} that is not UTF-8"),
                "UTF-8",
            )),
        }
    }

    /// Reads `count` numbers of `N` bytes each.
    pub(super) fn many<const N: usize, T>(
        &mut self,
        count: u64,
        from: fn(&[u8; N]) -> T,
    ) -> Result<Vec<T>, Fault> {
        self.expect(count, N as u64)?;
        let (items, _) = self.take(count * N as u64)?.as_chunks::<N>();
        Ok(items.iter().map(from).collect())
    }
}
