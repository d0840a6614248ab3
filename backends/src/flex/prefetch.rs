//! Asks memory for what is needed soon. Hints, which read nothing, wherever they point.

/// Bytes that one hint brings.
pub(crate) const LINE: usize = 64;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Nearest,
    Second,
}

/// Asks the nearest cache for some bytes from an address on.
#[inline(always)]
pub(crate) fn prefetch_bytes(address: usize, len: usize) {
    for line in (address / LINE..(address + len).div_ceil(LINE)).map(|line| line * LINE) {
        prefetch(Cache::Nearest, line);
    }
}

/// Asks for the line that holds an address.
#[inline(always)]
#[allow(unsafe_code, reason = "the instruction takes a pointer")]
pub(crate) fn prefetch(cache: Cache, address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching does not fault, and every x86-64 machine has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let address = std::ptr::without_provenance(address);
        match cache {
            Cache::Nearest => _mm_prefetch::<_MM_HINT_T0>(address),
            Cache::Second => _mm_prefetch::<_MM_HINT_T1>(address),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cache, address);
}
