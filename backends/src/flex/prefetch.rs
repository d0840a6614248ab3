//! Memory prefetch hints. They read nothing and are valid for any address.

/// Bytes per cache line.
pub(crate) const LINE: usize = 64;

/// Cache level to prefetch to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    Nearest,
    Second,
}

/// Prefetches `len` bytes at `address` to the nearest cache.
#[inline(always)]
pub(crate) fn prefetch_bytes(address: usize, len: usize) {
    for line in (address / LINE..(address + len).div_ceil(LINE)).map(|line| line * LINE) {
        prefetch(Cache::Nearest, line);
    }
}

/// Prefetches the cache line that contains `address`.
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
